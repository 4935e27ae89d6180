"""What is measured: one file a family, listed in `catalog`."""
