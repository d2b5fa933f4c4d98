"""Objectives by the field's names: the loss functions; the modules live in the file of the same name."""

from sslkit.objectives.byol import byol
from sslkit.objectives.simclr import nt_xent

__all__ = ["byol", "nt_xent"]
