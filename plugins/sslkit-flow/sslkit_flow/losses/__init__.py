"""One file per loss, a function of vectors and targets."""
