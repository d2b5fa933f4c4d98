"""`sslkit plugins new`: a whole plugin, written from templates, that works and passes its tests as it is."""

from sslkit.scaffold.plugin import new_plugin

__all__ = ["new_plugin"]
