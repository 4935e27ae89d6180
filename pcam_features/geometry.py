"""The size of a patch, and its regions: where on a patch a feature is measured."""

PATCH_SIZE = 96  # pixels, both ways: what PatchCamelyon and the Kaggle competition use
THIRD = PATCH_SIZE // 3
CENTER = (THIRD, PATCH_SIZE - THIRD)  # the middle third, both ways: where the label is decided
REGIONS = ("patch", "center", "ring")  # all of it; the middle third; the rest
