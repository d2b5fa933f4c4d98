"""Sums over all pairs of rows, exact, in tiles or by sorting: the matrix of all pairs is never held."""
