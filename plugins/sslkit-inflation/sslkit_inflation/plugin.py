"""The name this package adds to sslkit; light, so that listing plugins loads no torch."""

from __future__ import annotations

from sslkit.hookspecs import hookimpl

SSLKIT_API = 1


@hookimpl
def sslkit_backbone_transforms() -> dict[str, str]:
    """Kernels that look along time."""
    return {"inflate": "sslkit_inflation.inflate:inflate"}
