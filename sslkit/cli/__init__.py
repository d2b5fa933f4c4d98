"""The command line: parses, calls a run, prints errors without a traceback. `--help` imports no torch."""

from sslkit.cli.app import main

__all__ = ["main"]
