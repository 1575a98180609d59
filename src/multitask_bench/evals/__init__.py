"""Inspect AI: our task, scorers and model provider (entry point ``inspect_ai``)."""
