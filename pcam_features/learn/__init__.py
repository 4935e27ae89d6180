"""From features to a model: folds, boosters, stack, bundle."""
