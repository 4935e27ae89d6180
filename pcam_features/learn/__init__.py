"""From features to a model: folds, base models, stack, bundle."""

import os

# XGBoost's threads spin while they wait; on a machine that others use, that halves its speed. It reads
# this as it is loaded, which every way to it passes here to do.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
