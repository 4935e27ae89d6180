"""Sources of patches: one module per layout; `detect` chooses the layout."""
