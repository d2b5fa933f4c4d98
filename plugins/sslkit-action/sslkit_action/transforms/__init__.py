"""One file per transform; each is a function from a network and options to a network that sees clips."""
