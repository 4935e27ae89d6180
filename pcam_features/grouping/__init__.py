"""What belongs together: slides, pseudo-slides, near-duplicates, and folds of them."""
