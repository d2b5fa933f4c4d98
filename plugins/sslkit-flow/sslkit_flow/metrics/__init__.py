"""How flow is judged."""
