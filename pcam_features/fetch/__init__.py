"""Downloads: PatchCamelyon's files and Kaggle's competition."""
