"""What a model's folder and its files are called."""

from __future__ import annotations

WHAT = "model"
MANIFEST = "manifest.json"
KEY = "bundle_version"
# 5 had sums of some of its files only, and no known answers, 4 had models without a share beside
# embeddings, 3 chose the combination by its out-of-fold AUC, 2 had no calibration, 1 a booster for each
# family.
VERSION = 6
# Of models that take outside predictions as well. Older versions of pcam would predict without them, so
# they have to refuse these models; all others stay readable both ways.
VERSION_OUTSIDE = 7
KNOWN_ANSWERS = "known_answers.npy"
SEARCH = "search.sqlite"  # only in models whose settings were searched
THUMBNAILS = "thumbnails.npy"  # only if the store has those of the training patches
MOMENTS = "moments.npy"  # only in models that learned from changed copies as well
OUT_OF_FOLD, IMPORTANCE = "out_of_fold.parquet", "importance.parquet"
