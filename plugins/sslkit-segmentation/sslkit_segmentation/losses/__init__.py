"""One file per loss: a pure function of logits and labels."""
