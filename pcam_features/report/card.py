"""A model's card: what it was made from, how it was scored, and what it is not for."""

from __future__ import annotations

from ..evaluate.intervals import LEVEL
from ..families.describe import table
from ..learn.attribution import SAMPLE
from ..learn.manifest import ModelManifest
from .sentences import findings, score_rows

NOT_FOR = (
    "diagnosis, or any decision about a patient: this is no medical device, but made to compare "
    "methods on research data. Of other scanners, stains, tissues or patch sizes than those it was "
    "fitted on these scores say nothing."
)


def card(manifest: ModelManifest) -> str:
    """A model's card, in Markdown.

    After M. Mitchell et al., "Model cards for model reporting", FAT* 2019.
    """
    source, folds = manifest.source, manifest.folds
    scores = score_rows(manifest)
    trees = any(record.gain for record in manifest.importance.values())
    families = [
        (
            name,
            f"{len(known.columns):,}",
            f"{manifest.importance[name].contribution:.3f}",
            f"{manifest.importance[name].gain:.1%}" if trees else "no trees in use",
        )
        for name, known in manifest.families.items()
    ]
    versions = ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
    return "\n".join(
        [
            "# A classical model of pcam",
            "",
            "The probability that the center 32×32 of a 96×96 H&E patch holds tumor.",
            "",
            f"**Not for**: {NOT_FOR}",
            "",
            "## Data and protocol",
            "",
            f"- {source.rows:,} patches, {source.positive:,} of them positive: split "
            f"{source.split} of {source.path} ({source.kind}). {source.protocol}",
            f"- {folds.count} folds: {folds.protocol}.",
            "",
            "## Scores out of fold",
            "",
            table(("model", "AUC", f"{LEVEL:.0%} interval, groups resampled", "weight"), scores),
            "",
            *(f"- {sentence}" for sentence in findings(manifest)),
            "",
            "## What it goes by",
            "",
            table(("family", "columns", "moves log-odds by", "gain of trees"), families),
            "",
            "By how much a family moves the log-odds of a patch, up or down, is the mean over "
            f"{SAMPLE:,} patches, or all if there are fewer. "
            "`importance.parquet` has the same of each column, `folds.parquet` the folds, "
            "`out_of_fold.parquet` what each model said.",
            "",
            "## Made with",
            "",
            f"- pcam {manifest.pcam_version} on {manifest.device}, {manifest.threads} "
            f"threads, seed {manifest.seed}; {versions}",
            "- The same features, seed, versions, device and number of threads give the same bytes; "
            "other processors or numbers of threads add up in another order, so that last digits may "
            "differ.",
        ]
    )
