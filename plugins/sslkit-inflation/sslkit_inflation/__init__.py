"""Inflation for sslkit: convolutions for images that look along time too, from the weights they hold."""
