"""Semantic segmentation for sslkit: heads, losses, metrics and protocols."""
