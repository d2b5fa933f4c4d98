"""Object detection on any sslkit backbone."""
