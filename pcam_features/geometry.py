"""The size of a patch, and the regions in which features are measured."""

PATCH_SIZE = 96  # width and height in pixels, as in PatchCamelyon and the Kaggle competition
THUMBNAIL_SIDE = 8  # cells of a side of the gray thumbnail by which copies of a patch are found
THIRD = PATCH_SIZE // 3
CENTER = (THIRD, PATCH_SIZE - THIRD)  # the middle third of both axes, which alone decides the label
REGIONS = ("patch", "center", "ring")  # the whole patch; its middle third; the rest
