"""Heads that come with sslkit: one file each, registered under the name of its file."""
