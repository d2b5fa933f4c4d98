"""Probes: one file each, registered under the name of its file."""
