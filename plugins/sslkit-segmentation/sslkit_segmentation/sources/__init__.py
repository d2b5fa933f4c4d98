"""Places where images with maps of labels live."""
