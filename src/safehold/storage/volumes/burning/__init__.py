"""From image files to discs and floppies: what goes onto them besides the data, burning, reading back, labels."""
