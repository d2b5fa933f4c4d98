"""Optical flow for sslkit: heads, losses, figures, data and pictures."""
