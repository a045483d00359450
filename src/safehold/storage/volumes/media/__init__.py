"""What volumes are written on and read from."""
