"""Objectives by the field's names: the loss functions; the modules live in the file of the same name."""

from sslkit.objectives.barlow_twins import barlow_twins
from sslkit.objectives.byol import byol
from sslkit.objectives.contrastive import contrastive_margin
from sslkit.objectives.dino import dino
from sslkit.objectives.margin import margin_loss
from sslkit.objectives.moco import moco
from sslkit.objectives.sigreg import sigreg
from sslkit.objectives.simclr import nt_xent
from sslkit.objectives.simsiam import simsiam
from sslkit.objectives.supcon import supcon
from sslkit.objectives.triplet import triplet_margin
from sslkit.objectives.vicreg import vicreg

__all__ = [
    "barlow_twins",
    "byol",
    "contrastive_margin",
    "dino",
    "margin_loss",
    "moco",
    "nt_xent",
    "sigreg",
    "simsiam",
    "supcon",
    "triplet_margin",
    "vicreg",
]
