"""The shift yardstick: what a model is worth in laboratories that it has not seen.

    python benchmarks/shift.py measure SOURCE VIEWS [--split valid] [--families all,cnn]
    python benchmarks/shift.py score MODEL VIEWS > score.json
    python benchmarks/shift.py clusters STORE clusters.csv
    python benchmarks/shift.py folds MODEL [--slides slides.csv]
    python benchmarks/shift.py columns STORE VIEWS

`measure` computes the features of a split as it is, and of 21 views of it: stain amounts, stain
vectors, brightness and gamma, white balance, blur, JPEG and noise, each mild, moderate and strong (see
`extraction/shifts.py`; numbers are drawn by seed). `score` prints the AUC of a model and of its base
models on each view. One number sums it up, the mean over the moderate views; the lowest stands beside.

`clusters` deals a store's training patches into clusters of stain and brightness: with
`pcam fit STORE MODEL --folds-from clusters.csv` each cluster is scored by models of the others, and
`folds MODEL` prints the AUC of each fold. With `--slides` it prints the AUC of the patches that the
table names (Kaggle's of known slide). `columns` measures how far each column moves; see
shift_columns.py.

Kernel models and trees learn from training patches, so choices that are made by these figures are made
on `valid` as well: the official test split and Kaggle's known slides stay apart.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from shift_columns import columns

from pcam_features.api.data import extract, open_source
from pcam_features.evaluate.intervals import auc
from pcam_features.extraction.shifts import COPIES_SEED, STRENGTHS, seen, views
from pcam_features.grouping.appearance import looks_in
from pcam_features.grouping.folds import TABLE
from pcam_features.learn import bundle
from pcam_features.learn.base_models import logits
from pcam_features.learn.names import OUT_OF_FOLD
from pcam_features.learn.predict import check_features
from pcam_features.learn.stack import COMBINED
from pcam_features.sources.source import Source
from pcam_features.store.store import Store, open_store
from pcam_features.store.values import stored

CLUSTERS = 5


def measure(path: str, folder: Path, options: argparse.Namespace) -> None:
    if options.seed == COPIES_SEED:
        raise SystemExit("training copies are drawn by this seed; use another --seed")
    source = open_source(path)
    plain = source.split(options.split)
    drawn = [view for view in views(options.seed).values() if view.strength in options.strengths]
    splits = [plain, *(seen(plain, view) for view in drawn)]
    shifted = Source(source.kind, source.path, source.protocol, {one.name: one for one in splits})
    extract(shifted, folder, families=options.families, log=print)


def aucs(model: bundle.Bundle, store: Store, split: str) -> dict[str, float]:
    """The AUC of all models combined and of each base model on a split."""
    check_features(model, store)
    values = stored(store, split, model.families, keep=False)
    labels = store.patches(split)["label"].to_numpy(np.int8)
    margins = logits(model.models, values, joblib.cpu_count())
    return {COMBINED: auc(labels, model.stack.together(margins))} | {
        name: auc(labels, margins[:, k]) for k, name in enumerate(model.stack.models)
    }


def summary(by_view: dict[str, float]) -> dict[str, float]:
    """The mean over views of each strength, and the lowest of the moderate ones."""
    of = {
        strength: [score for split, score in by_view.items() if split.endswith(strength)]
        for strength in STRENGTHS
    }
    means = {f"mean {strength}": float(np.mean(scores)) for strength, scores in of.items() if scores}
    return means | ({"worst moderate": min(of["moderate"])} if of["moderate"] else {})


def score(path: Path, store: Store) -> dict[str, Any]:
    model = bundle.read(path)
    by_view = {split: aucs(model, store, split) for split in store.splits}
    plain, *_ = by_view
    return {
        name: {"as it is": by_view[plain][name]}
        | summary({split: scores[name] for split, scores in by_view.items()})
        | {"views": {split: scores[name] for split, scores in by_view.items() if split != plain}}
        for name in by_view[plain]
    }


def clusters(store: Store, out: Path) -> None:
    """Write folds that are clusters of stain and brightness."""
    from sklearn.cluster import KMeans

    looks = looks_in(store, "train")
    if looks is None:
        raise SystemExit("the store lacks the family color; extract it first")
    fold = KMeans(CLUSTERS, n_init=4, random_state=0).fit_predict(looks.slide)
    table = {"id": store.patches("train")["id"], "fold": fold, "group": fold}
    pd.DataFrame(table).to_csv(out, index=False)


def folds(path: Path, slides: Path | None) -> dict[str, Any]:
    """The out-of-fold AUC of each fold, or of the patches of known slide."""
    table = pd.read_parquet(path / OUT_OF_FOLD).merge(pd.read_parquet(path / TABLE), on="id")
    parts = {f"fold {k}": part for k, part in table.groupby("fold")}
    if slides is not None:
        parts = {"known slides": table[table["id"].isin(pd.read_csv(slides)["id"])]}
    models = list(bundle.read_manifest(path).out_of_fold_auc)
    return {
        name: {"patches": len(part), "positive": int(part["label"].sum())}
        | {m: auc(part["label"].to_numpy(np.int8), part[m].to_numpy()) for m in models}
        for name, part in parts.items()
        if part["label"].nunique() == 2
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    measuring = commands.add_parser("measure")
    measuring.add_argument("source")
    measuring.add_argument("views", type=Path)
    measuring.add_argument("--split", default="valid")
    measuring.add_argument("--families", default="all,cnn")
    measuring.add_argument("--strengths", nargs="+", choices=STRENGTHS, default=STRENGTHS)
    measuring.add_argument("--seed", type=int, default=0)
    scoring = commands.add_parser("score")
    scoring.add_argument("model", type=Path)
    scoring.add_argument("views", type=Path)
    clustering = commands.add_parser("clusters")
    clustering.add_argument("store", type=Path)
    clustering.add_argument("out", type=Path)
    folding = commands.add_parser("folds")
    folding.add_argument("model", type=Path)
    folding.add_argument("--slides", type=Path)
    moving = commands.add_parser("columns")
    moving.add_argument("store", type=Path)
    moving.add_argument("views", type=Path)
    options = parser.parse_args()
    if options.command == "measure":
        measure(options.source, options.views, options)
    elif options.command == "clusters":
        clusters(open_store(options.store), options.out)
    elif options.command == "columns":
        columns(open_store(options.store), open_store(options.views))
    elif options.command == "score":
        print(json.dumps(score(options.model, open_store(options.views)), indent=1))
    else:
        print(json.dumps(folds(options.model, options.slides), indent=1))


if __name__ == "__main__":
    main()
