"""Model cards: training data, protocol, scores, and what the model must not be used for."""

from __future__ import annotations

from ..evaluate.intervals import LEVEL
from ..families.describe import table
from ..learn.attribution import SAMPLE
from ..learn.manifest import ModelManifest
from ..sources.fitting import Fit
from .sentences import findings, score_rows

NOT_FOR = (
    "diagnosis, or any decision about a patient. This is no medical device; it serves to compare "
    "methods on research data. The scores do not hold for scanners, stains, tissues or patch sizes "
    "other than those of the training data."
)


def card(manifest: ModelManifest) -> str:
    """The card of a model, in Markdown.

    The format is that of M. Mitchell et al., "Model cards for model reporting", FAT* 2019.
    """
    source, folds = manifest.source, manifest.folds
    scores = score_rows(manifest)
    trees = any(record.gain for record in manifest.importance.values())
    families = [
        (
            name,
            f"{len(known.columns):,}",
            f"{manifest.importance[name].contribution:.3f}",
            f"{manifest.importance[name].gain:.1%}" if trees else "no trees used",
        )
        for name, known in manifest.families.items()
    ]
    versions = ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
    return "\n".join(
        [
            "# A classical model of pcam",
            "",
            "The probability that the center 32×32 of a 96×96 H&E patch contains tumor.",
            *sizes(manifest),
            "",
            f"**Not for**: {NOT_FOR}",
            "",
            "## Data and protocol",
            "",
            f"- {source.rows:,} patches, {source.positive:,} of them positive: split "
            f"{source.split} of {source.path} ({source.kind}). {source.protocol}",
            f"- {folds.count} folds: {folds.protocol}.",
            "",
            "## Out-of-fold scores",
            "",
            table(("model", "AUC", f"{LEVEL:.0%} interval, groups resampled", "weight"), scores),
            "",
            *(f"- {sentence}" for sentence in findings(manifest)),
            "",
            "## Contribution of each family",
            "",
            table(("family", "columns", "contribution", "gain of trees"), families),
            "",
            "The contribution is how much a family changes the log-odds of a patch, up or down, "
            f"averaged over {SAMPLE:,} patches, or all if there are fewer. `importance.parquet` has "
            "the same for each column, `folds.parquet` the folds, and `out_of_fold.parquet` the "
            "predictions of each model.",
            "",
            "## Made with",
            "",
            f"- pcam {manifest.pcam_version} on {manifest.device}, {manifest.threads} "
            f"threads, seed {manifest.seed}; {versions}",
            "- The same features, seed, versions, device and number of threads reproduce the model "
            "byte by byte. Other processors or numbers of threads sum in another order, so that the "
            "last digits may differ.",
        ]
    )


def sizes(manifest: ModelManifest) -> list[str]:
    """A paragraph on how patches of another size were brought to 96×96 pixels, if they were."""
    if manifest.source.source.fit is None:
        return []
    fit = Fit.from_dict(manifest.source.source.fit)
    return ["", f"The training data were of another size: {fit.sentence()}."]
