"""Files of optical flow, one file per format."""
