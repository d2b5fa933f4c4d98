"""Places where pairs of frames with flow live."""
