"""Every name a recipe or the command line may use. Built-ins enter through the same hooks as plugins."""

from sslkit.registry.address import open_source
from sslkit.registry.lookup import build, names, plugins, resolve
from sslkit.registry.plugins import Plugin

__all__ = ["Plugin", "build", "names", "open_source", "plugins", "resolve"]
