"""Reference networks of all folds: out-of-fold predictions, and their score on other slides and views.

    python benchmarks/networks.py train SOURCE OUT --folds-from MODEL [--arch efficientnet_lite0]
    python benchmarks/networks.py predict SOURCE OUT [--split valid]
    python benchmarks/networks.py shift SOURCE OUT [--split valid] [--strengths moderate] > shift.json
    python benchmarks/networks.py together SOURCE OUT --model stack=MODEL --features STORE \\
        --views VIEWS [--model handcrafted=MODEL2] [--also p4m=OUT2] > together.json

`train` trains a network for each fold of MODEL (or for those of `--only`), on the patches of the
others, with a report beside it. `predict` writes OUT/train.csv, in which each patch is predicted by the
network that was not trained on it, and OUT/valid.csv, the mean of all networks; `pcam blend` and
`pcam fit --with` take these, with the labels in OUT/truth-train.csv. `shift` scores the mean on the
views of shift.py. `together` blends the networks with a classical model in equal shares (by their
out-of-fold predictions on the patches of STORE) and compares all three on the split as it is, and by
their mean AUC over the moderate views, whose features are in VIEWS (of `shift.py measure`). Further
models and the networks of other folders are compared with them.

All of them go on where they were stopped, so that they can run in the background for hours: networks by
their checkpoints, predictions by their files. The first sentences of `train` say how long an epoch
takes here.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from shift import summary

from pcam_features.api.blending import blend
from pcam_features.api.comparing import compare
from pcam_features.api.data import open_source
from pcam_features.api.model import Model, open_model
from pcam_features.api.networks import ReferenceNetwork, fit_network, open_network
from pcam_features.evaluate.intervals import auc
from pcam_features.extraction.shifts import STRENGTHS, seen, views
from pcam_features.grouping.folds import read_folds
from pcam_features.networks.fit import labeled
from pcam_features.sources.source import Source, Split
from pcam_features.storage.resumable import ENDING

TRAIN = "train"
NETWORK, BOTH = "network", "both"


def say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


def trained(out: Path) -> dict[int, ReferenceNetwork]:
    """The networks that are there, by their held-out folds."""
    paths = sorted(path.parent for path in out.glob("fold*/manifest.json"))
    found = [open_network(path) for path in paths if not path.name.endswith(ENDING)]
    return {network.manifest.folds.held_out: network for network in found}


def train(source: Source, out: Path, options: argparse.Namespace) -> None:
    done = trained(out)
    count = read_folds(options.folds_from, labeled(source.split(TRAIN))).count
    for fold in options.only or range(count):
        if fold in done:
            continue
        network = fit_network(
            source,
            out / f"fold{fold}",
            arch=options.arch,
            folds_from=options.folds_from,
            fold=fold,
            epochs=options.epochs,
            patience=options.patience,
            threads=options.threads,
            seed=options.seed,
            progress=None,
            log=say,
        )
        network.report(out / f"fold{fold}.html")
        say(f"fold {fold}: held-out AUC {network.held_out_auc:.4f}")


def predicted(network: ReferenceNetwork, source: Source, split: str, threads: int) -> pd.Series[float]:
    """The predictions of a network for a split, from their file if it is there."""
    file = network.path.with_name(f"{network.path.name}-{split}.csv")
    if not file.exists():
        say(f"predicting split {split} with {network.path}")
        network.predict_split(source, split, threads=threads, progress=None, log=say).write(file)
    return pd.read_csv(file, index_col="id", dtype={"id": str})["label"]


def mean_of(networks: dict[int, ReferenceNetwork], source: Source, split: str, threads: int) -> Any:
    """The mean of all networks' probabilities, by id."""
    each = [predicted(network, source, split, threads) for network in networks.values()]
    return pd.concat(each, axis=1).mean(axis=1)


def score(source: Source, out: Path, name: str, predictions: pd.Series[float], count: int) -> None:
    """Write the labels of a split's patches to OUT/truth-NAME.csv, and say the AUC."""
    split = source.split(name)
    labels = pd.Series(split.labels, split.ids, name="label")[predictions.index].astype(np.int8)
    labels.to_csv(out / f"truth-{split.name}.csv", index_label="id")
    found = auc(labels.to_numpy(), predictions.to_numpy())
    say(f"{split.name}: AUC {found:.4f} of {count} networks on {len(labels):,} patches")


def predict(source: Source, out: Path, options: argparse.Namespace) -> None:
    networks = trained(out)
    mean = mean_of(networks, source, options.split, options.threads)
    mean.rename("label").to_csv(out / f"{options.split}.csv", index_label="id")
    score(source, out, options.split, mean, len(networks))
    own = pd.concat(
        predicted(network, source, TRAIN, options.threads).to_frame().assign(fold=fold)
        for fold, network in networks.items()
    )
    own.to_csv(out / f"{TRAIN}.csv", index_label="id")
    score(source, out, TRAIN, own["label"], len(networks))


def seen_by(networks: dict[int, ReferenceNetwork], source: Source, split: Split, threads: int) -> Any:
    """The mean of all networks' probabilities for a split that need not be one of the source."""
    shown = Source(source.kind, source.path, source.protocol, {split.name: split})
    return mean_of(networks, shown, split.name, threads)


def together(source: Source, out: Path, options: argparse.Namespace) -> None:
    """Compare models, networks, and the first of each in equal shares: as it is, and in views."""
    models = {name: open_model(path) for name, path in options.model}
    networks = {NETWORK: trained(out)} | {name: trained(Path(path)) for name, path in options.also}
    first = next(iter(models))
    both = blend(
        out / f"truth-{TRAIN}.csv",
        {first: models[first].path, NETWORK: out / f"{TRAIN}.csv"},
        features=options.features,
    )
    plain = source.split(options.split)
    moderate = [seen(plain, view) for view in views().values() if view.strength == "moderate"]
    predicted: list[dict[str, pd.Series[float]]] = []
    for split in (plain, *moderate):
        each = {name: of_model(model, options.views, split.name) for name, model in models.items()}
        each |= {name: seen_by(some, source, split, options.threads) for name, some in networks.items()}
        predicted.append(each | {BOTH: both.predict({part: each[part] for part in both.parts})})
    labels = pd.Series(plain.labels, plain.ids).astype(np.int8)
    compared = {}
    for over, shown in (("as it is", predicted[:1]), ("mean of moderate views", predicted[1:])):
        result = compare(
            labels,
            {name: [one[name] for one in shown] for name in predicted[0]},
            features=options.views,
            pairs=[(BOTH, first), (BOTH, NETWORK), (first, NETWORK)],
            progress=None,
        )
        say(f"{over}: {result.verdict}")
        compared[over] = result.to_dict()
    print(json.dumps({"out of fold": both.to_dict()} | compared, indent=2))


def of_model(model: Model, store: Path, split: str) -> pd.Series[float]:
    return model.predict_split(store, split, progress=None).to_series()


def shift(source: Source, out: Path, options: argparse.Namespace) -> None:
    networks, plain = trained(out), source.split(options.split)
    labels, scores = np.asarray(plain.labels, np.int8), {}
    for view in [None, *views().values()]:
        if view is None or view.strength in options.strengths:
            split = plain if view is None else seen(plain, view)
            mean = seen_by(networks, source, split, options.threads)
            scores[split.name] = auc(labels, mean[split.ids].to_numpy())
    print(json.dumps({"as it is": scores[plain.name]} | summary(scores) | {"views": scores}, indent=2))


WORK = {"train": train, "predict": predict, "shift": shift, "together": together}


def named(spec: str) -> tuple[str, str]:
    """NAME=PATH."""
    name, _, path = spec.partition("=")
    if not path:
        raise argparse.ArgumentTypeError(f"{spec} is not NAME=PATH")
    return name, path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in WORK:
        command = commands.add_parser(name)
        command.add_argument("source")
        command.add_argument("out", type=Path)
        command.add_argument("--threads", type=int, default=0)
        command.add_argument("--split", default="valid")
        if name == "shift":
            command.add_argument("--strengths", nargs="+", choices=STRENGTHS, default=STRENGTHS)
        if name == "together":
            command.add_argument("--model", type=named, action="append", required=True)
            command.add_argument("--also", type=named, action="append", default=[])
            command.add_argument("--features", type=Path, required=True)
            command.add_argument("--views", type=Path, required=True)
        if name == "train":
            command.add_argument("--folds-from", type=Path, required=True)
            command.add_argument("--arch", default="efficientnet_lite0")
            command.add_argument("--epochs", type=int, default=12)
            command.add_argument("--patience", type=int, default=5)
            command.add_argument("--seed", type=int, default=0)
            command.add_argument("--only", type=int, nargs="+", help="Folds to train; default: all.")
    options = parser.parse_args()
    WORK[options.command](open_source(options.source, slides="none"), options.out, options)


if __name__ == "__main__":
    main()
