"""Model cards: training data, protocol, scores, and uses that the model is not intended for."""

from __future__ import annotations

from ..evaluate.spread import LEVEL
from ..families.describe import table
from ..learn.attribution import SAMPLE
from ..learn.manifest import ModelManifest
from ..sources.fitting import Fit
from ..words import counted
from .markdown import escaped
from .sentences import findings, score_rows

NOT_FOR = (
    "diagnosis, or any decision about a patient. It is not a medical device; its purpose is to compare "
    "methods on research data. The scores do not apply to other tissues or patch sizes than those "
    "of the training data, nor to other scanners and stains, unless an AUC to expect of them is given."
)


def card(manifest: ModelManifest) -> str:
    """The card of a model in Markdown. Text from files is escaped, because notebooks render the card.

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
    data = (
        f"{counted(source.rows, 'patch')}, {source.positive:,} of them positive: split "
        f"{source.split} of "
        f"{source.path} ({source.kind}). {source.protocol}"
    )
    software = (
        f"pcam {manifest.pcam_version} on {manifest.device}, {counted(manifest.threads, 'thread')}, "
        f"seed {manifest.seed}; {versions}"
    )
    return "\n".join(
        [
            "# Model card: classical model fitted with pcam",
            "",
            "Predicts the probability that the center 32×32 of a 96×96 H&E patch contains tumor.",
            *sizes(manifest),
            "",
            f"**Not intended for**: {NOT_FOR}",
            "",
            "## Data and protocol",
            "",
            f"- {escaped(data)}",
            f"- {counted(folds.count, 'fold')}: {escaped(folds.protocol)}.",
            "",
            "## Out-of-fold scores",
            "",
            table(("model", "AUC", f"{LEVEL:.0%} interval across groups", "weight"), scores),
            "",
            *(f"- {escaped(sentence)}" for sentence in findings(manifest)),
            "",
            "## Contribution of each family",
            "",
            table(("family", "columns", "contribution", "gain of trees"), families),
            "",
            "The contribution is how much a family changes the log-odds of a patch, up or down, "
            f"averaged over {SAMPLE:,} patches, or over all if there are fewer. `importance.parquet` "
            "has the same for each column, `folds.parquet` the folds, and `out_of_fold.parquet` the "
            "predictions of each model.",
            "",
            "## Software",
            "",
            f"- {escaped(software)}",
            "- The same features, seed, versions, device and number of threads reproduce the model "
            "byte for byte. Other processors or numbers of threads add in another order, so the last "
            "digits may differ.",
        ]
    )


def sizes(manifest: ModelManifest) -> list[str]:
    """A paragraph on how patches of another size were brought to 96×96 pixels, if they were."""
    if manifest.source.source.fit is None:
        return []
    fit = Fit.from_dict(manifest.source.source.fit)
    return ["", f"The training patches had another size: {fit.sentence()}."]
