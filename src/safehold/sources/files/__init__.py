"""Files and folders, on every operating system."""
