"""Sentences and table cells on the result of a fit."""

from __future__ import annotations

from collections.abc import Mapping

from ..constants import TOO_GOOD, Shares
from ..evaluate.intervals import Estimate
from ..learn.blend import CLASSICAL, Blend
from ..learn.manifest import ModelManifest, SearchRecord
from ..learn.stack import BEST, COMBINED, FIXED, STACK
from ..words import counted, form

SHOWN_COLUMNS = 10
CHANCE = 0.5  # the AUC of a model that has learned nothing
CHOICES = {
    FIXED: "fixed shares",
    BEST: "best single model (chosen within each fold)",
    STACK: "stack",
}


SHARES = {Shares.equal.value: "equal shares", Shares.fitted.value: "fitted shares"}


CHANGES = {
    "amounts": "stain amounts",
    "vectors": "stain colors",
    "brightness": "brightness",
    "white_balance": "white balance",
    "blur": "blur",
    "jpeg": "JPEG compression",
    "noise": "noise",
}


def weights_of(manifest: ModelManifest) -> dict[str, float]:
    """The weight of each base model and, with outside predictions, of each part of the combination."""
    stacks = [manifest.stack, *([] if manifest.blend is None else [manifest.blend.stack])]
    return {
        name: weight
        for stack in stacks
        for name, weight in zip(stack.models, stack.weights, strict=True)
    }


def score_rows(manifest: ModelManifest) -> list[tuple[str, str, str, str]]:
    """Name, AUC, interval and weight of each base model and of the combined model."""
    weights = weights_of(manifest)
    return [
        (name, f"{score.value:.4f}", span(score), f"{weights[name]:.3f}" if name in weights else "")
        for name, score in manifest.out_of_fold_auc.items()
    ]


def findings(manifest: ModelManifest) -> list[str]:
    """Sentences on the result of a fit.

    First warnings if the combined model is not above chance, or if something tells the label, then how
    models are combined and what outside predictions add, what to expect elsewhere, calibration, the
    search, and the leakage gap.
    """
    leak = manifest.leakage
    return [
        *not_above_chance(manifest.out_of_fold_auc[COMBINED]),
        *leaking(manifest),
        *combination(manifest),
        *outside(manifest),
        *elsewhere(manifest),
        calibrating(manifest),
        *searched(manifest.search),
        f"leakage gap of a {leak.model} model: AUC {leak.auc:.4f} in these folds, "
        f"{leak.auc_at_random:.4f} in random folds ({leak.gap:+.4f})",
    ]


def not_above_chance(auc: Estimate) -> list[str]:
    """A warning if the out-of-fold AUC of the combined model is not above 0.5; none if it is.

    Parameters
    ----------
    auc
        The AUC with its interval across groups.

    Examples
    --------
    >>> not_above_chance(Estimate(0.7, 0.6, 0.8))
    []
    """
    if auc.low > CHANCE:
        return []
    found = f"warning: the combined model's out-of-fold AUC, {auc.value:.4f} {span(auc)}, is"
    if auc.high < CHANCE:
        return [
            f"{found} below 0.5: its ranking looks inverted on slides that it has not seen, so do not "
            "use the model; check whether labels are swapped in some slides"
        ]
    return [
        f"{found} not above 0.5, which is chance: nothing that carries over to other slides was shown "
        "to be learned; check the labels, or give more patches and slides"
    ]


def leaking(manifest: ModelManifest) -> list[str]:
    """A warning if columns tell the label alone, or if the combined model is too good to be true."""
    columns, auc = manifest.leaky_columns, manifest.out_of_fold_auc[COMBINED].value
    if columns:
        shown = [f"{name} (AUC {value:.4f})" for name, value in columns.items()][:SHOWN_COLUMNS]
        more = f" and {len(columns) - len(shown):,} more" if len(columns) > len(shown) else ""
        tells = form(len(columns), "column tells", "columns tell")
        return [
            f"warning: {len(columns):,} {tells} the label alone, out of sample: {', '.join(shown)}"
            f"{more}; no feature of tissue is known to do that, so check whether the label, or what "
            "was made from it, is among the features; extract these families again or leave them out"
        ]
    if auc > TOO_GOOD:
        return [
            f"warning: an out-of-fold AUC of {auc:.4f} is too good for patches of tissue; check "
            "whether the classes differ in something else, such as their files' format or scanner"
        ]
    return []


def is_above_chance(manifest: ModelManifest) -> bool:
    """Whether the interval of the combined model's out-of-fold AUC lies above 0.5."""
    return not not_above_chance(manifest.out_of_fold_auc[COMBINED])


def combination(manifest: ModelManifest) -> list[str]:
    """How the base models are combined."""
    used = ", ".join(name for name, weight in manifest.stack.weight_of.items() if weight)
    whole = "combined" if manifest.outside is None else CLASSICAL
    aucs = ", ".join(f"{CHOICES[name]} {auc:.4f}" for name, auc in manifest.candidates.items())
    return [
        f"the {whole} model takes fixed shares of the log-odds of {used}: two of trees, one of each "
        "kernel model; a model's weight is its share divided by the spread of its log-odds",
        f"cross-validated AUC: {aucs}; fixed shares are used whatever these say, because they lose "
        "least in other laboratories. Report the AUC of combined",
    ]


def outside(manifest: ModelManifest) -> list[str]:
    """How outside predictions are combined with the base models, and what each part adds."""
    record, blend = manifest.outside, manifest.blend
    if record is None or blend is None:
        return []
    models = ", ".join(f"{name} ({model.sentence()})" for name, model in record.models.items())
    scores = {name: manifest.out_of_fold_auc[name] for name in record.models}
    return [*too_good(scores), f"outside predictions: {models}", *blended(blend, COMBINED)]


def too_good(scores: Mapping[str, Estimate]) -> list[str]:
    """A warning for each outside model whose predictions are too good to be out of fold.

    Parameters
    ----------
    scores
        The AUC of each model by name.

    Examples
    --------
    >>> too_good({"net": Estimate(0.97, 0.95, 0.98)})
    []
    """
    return [
        f"warning: an out-of-fold AUC of {auc.value:.4f} of {name} is too good for patches of tissue; "
        "check whether its models had seen them"
        for name, auc in scores.items()
        if auc.value > TOO_GOOD
    ]


def blended(blend: Blend, whole: str) -> list[str]:
    """How parts are combined, and what each part adds, in sentences.

    Parameters
    ----------
    blend
        The combination.
    whole
        Its name.
    """
    shares = ", ".join(f"{part} {share:.2f}" for part, share in blend.shares.items())
    aucs = ", ".join(f"{SHARES[name]} {auc:.4f}" for name, auc in blend.candidates.items())
    return [
        f"{whole} takes {SHARES[blend.how]} of the standardized log-odds: {shares}; cross-validated "
        f"AUC: {aucs}",
        *(
            f"{gain.part} adds {gain.difference.value:+.4f} {span(gain.difference, '+')} to the AUC of "
            f"{' + '.join(gain.others)}: {gain.finding(whole)}"
            for gain in blend.gains
        ),
    ]


def elsewhere(manifest: ModelManifest) -> list[str]:
    """The AUC to expect of another laboratory's patches, from changed copies."""
    if not manifest.copies:
        return []
    whose = "" if manifest.outside is None else f" of {CLASSICAL}, without outside predictions"
    learned = f"the base models learned from {manifest.copies:,} changed copies of patches as well"
    scores, expected = manifest.elsewhere, manifest.elsewhere_auc
    if expected is None or not scores:
        return [
            f"{learned}; what a change of laboratory costs is not known, as there are too few copies "
            "of each shift, or an older version of pcam fitted the model"
        ]
    lost = sum(score.loss for score in scores.values()) / len(scores)
    worst = max(scores, key=lambda shift: scores[shift].loss)
    return [
        f"{learned}. AUC to expect after a change of laboratory{whose}: {expected.value:.3f} "
        f"[{expected.low:.3f}, {expected.high:.3f}]. Copies are scored by models that saw neither "
        f"their patches nor their laboratories; they lose {lost:.3f} on average, and most by "
        f"{CHANGES.get(worst, 'another change')}: {scores[worst].loss:.3f}. The interval covers the "
        "choice of slides, and of laboratories that differ in stain, scanner or file as these copies "
        "do; hospitals differ in more than that"
    ]


def calibrating(manifest: ModelManifest) -> str:
    """The effect of calibration, in a sentence."""
    before, after = manifest.calibration.before, manifest.calibration.after
    changes = (
        f"Brier score {before.brier:.4f} → {after.brier:.4f}, "
        f"log loss {before.log_loss:.4f} → {after.log_loss:.4f}, "
        f"calibration error {before.ece:.4f} → {after.ece:.4f}"
    )
    stack = manifest.stack if manifest.blend is None else manifest.blend.stack
    unused = "" if stack.is_calibrated else "; calibration does not help and is left out"
    return f"cross-validated calibration, before → after, lower is better: {changes}{unused}"


def searched(search: dict[str, SearchRecord]) -> list[str]:
    """The result of each search for settings, and whether it is used, in sentences."""
    sentences = [
        f"settings search for {kind} ({counted(record.trials, 'trial')}, mean AUC over folds, all "
        "families): "
        f"defaults {record.default:.4f}, best {record.best:.4f}, nested {record.nested:.4f}: "
        + ("used" if record.taken else "not used")
        for kind, record in search.items()
    ]
    if any(record.taken for record in search.values()):
        sentences.append(
            "the settings were chosen on these folds, so the scores are slightly optimistic"
        )
    return sentences


def span(estimate: Estimate, sign: str = "") -> str:
    """An interval in brackets.

    Examples
    --------
    >>> span(Estimate(0.02, -0.01, 0.05), "+")
    '[-0.0100, +0.0500]'
    """
    return f"[{estimate.low:{sign}.4f}, {estimate.high:{sign}.4f}]"
