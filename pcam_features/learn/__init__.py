"""From features to a model: folds, base models, stack, bundle."""
