"""Tasks of the transfer matrix that come with sslkit, and what they find in a user's folder."""
