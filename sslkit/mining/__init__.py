"""Choosing what an anchor is compared with: the bank, the index over it, miners and hard batches."""
