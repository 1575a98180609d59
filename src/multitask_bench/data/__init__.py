"""Data: the bundled sets, and the user's own files."""
