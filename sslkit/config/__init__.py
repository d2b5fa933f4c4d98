"""Recipes: read, checked and frozen. Only `runs/` and `cli/` import this room."""

from sslkit.config.files import recipe_header, recipe_names
from sslkit.config.recipe import Recipe, load_recipe

__all__ = ["Recipe", "load_recipe", "recipe_header", "recipe_names"]
