"""One file per family of networks that are not of timm; each is a function to a video network."""
