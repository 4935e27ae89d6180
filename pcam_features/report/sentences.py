"""What a fit has come to, in sentences and cells of text."""

from __future__ import annotations

from dataclasses import asdict

from ..evaluate.intervals import Estimate
from ..learn.manifest import ModelManifest, SearchRecord

CHOICES = {
    "mean": "the mean of all",
    "best": "the best single model, picked anew for each fold",
    "stack": "a stack",
}


def score_rows(manifest: ModelManifest) -> list[tuple[str, str, str, str]]:
    """Of each model and of all together: name, AUC, its interval, weight."""
    weights = dict(zip(manifest.stack.models, manifest.stack.weights, strict=True))
    return [
        (name, f"{score.value:.4f}", span(score), f"{weights[name]:.3f}" if name in weights else "")
        for name, score in manifest.out_of_fold_auc.items()
    ]


def findings(manifest: ModelManifest) -> list[str]:
    """In sentences: what the models are combined by, calibration, the search, the leakage gap."""
    leak = manifest.leakage
    return [
        *combination(manifest),
        calibrating(manifest),
        *searched(manifest.search),
        f"leakage gap, measured on {leak.model}: AUC {leak.auc:.4f} in these folds, "
        f"{leak.auc_at_random:.4f} in folds dealt at random ({leak.gap:+.4f})",
    ]


def combination(manifest: ModelManifest) -> list[str]:
    """How the base models are combined."""
    aucs, choice = manifest.candidates, manifest.stack.choice
    weights = dict(zip(manifest.stack.models, manifest.stack.weights, strict=True))
    taken = max(weights, key=lambda name: weights[name]) if choice == "best" else CHOICES[choice]
    each = ", ".join(f"{CHOICES[name]} {auc:.4f}" for name, auc in aucs.items())
    simpler = "" if choice == "stack" else "; stacking does not help"
    return [
        f"combined is {taken}: AUC across folds of {each}{simpler}",
        "combined's AUC in the table is with that choice and the calibration made anew for each fold: "
        "the one to report",
    ]


def calibrating(manifest: ModelManifest) -> str:
    """What calibration changed."""
    before, after = asdict(manifest.calibration.before), asdict(manifest.calibration.after)
    names = {"brier": "Brier score", "log_loss": "log loss", "ece": "calibration error"}
    each = ", ".join(f"{name} {before[k]:.4f} → {after[k]:.4f}" for k, name in names.items())
    without = "; fitted on all folds it does not help, so the model has none"
    without = "" if manifest.stack.is_calibrated else without
    return f"calibration across folds, lower is better, before → after: {each}{without}"


def searched(search: dict[str, SearchRecord]) -> list[str]:
    """What a search for settings found, and whether it is used."""
    said = [
        f"search for {kind} ({one.trials} trials, mean AUC of folds, all families): defaults "
        f"{one.default:.4f}, best {one.best:.4f}, best of the other folds {one.nested:.4f}: "
        + ("taken" if one.taken else "not taken")
        for kind, one in search.items()
    ]
    if any(one.taken for one in search.values()):
        said.append("the scores are of settings chosen on these folds: expect a little less elsewhere")
    return said


def span(estimate: Estimate, sign: str = "") -> str:
    """An interval in brackets."""
    return f"[{estimate.low:{sign}.4f}, {estimate.high:{sign}.4f}]"
