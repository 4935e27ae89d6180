"""Patches written in other layouts, and synthetic ones."""
