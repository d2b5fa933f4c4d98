"""What predictions are judged by."""
