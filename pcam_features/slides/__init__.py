"""Whole slides: reading them, finding tissue, and mapping what a model predicts."""
