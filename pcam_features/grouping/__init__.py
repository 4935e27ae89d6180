"""Groups of patches (slides, pseudo-slides, near-duplicates) and cross-validation folds of groups."""
