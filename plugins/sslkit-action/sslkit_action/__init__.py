"""Action recognition for sslkit: heads over clips, their figures, protocols, and networks of video."""
