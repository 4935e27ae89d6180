"""What a model's folder and its files are called."""

from __future__ import annotations

WHAT = "model"
MANIFEST = "manifest.json"
KEY = "bundle_version"
VERSION = 3  # 2 had no calibration, 1 a booster for each family
OUT_OF_FOLD, IMPORTANCE = "out_of_fold.parquet", "importance.parquet"
