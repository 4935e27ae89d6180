"""Type I error of tests, and coverage of intervals, where few slides or patches are positive.

    python benchmarks/few_positives.py --runs 1000 > few_positives.json
    python benchmarks/few_positives.py --table few_positives.json    # the table of docs/comparison.md

Two models are equally good: their scores are drawn alike. A score is the sum of 1.5 for tumor and
standard normal noise that both models share, and of each model's own noise, its own shift of the slide,
and its own shift of the slide's tumor patches, each with a standard deviation of 0.7. Half of the
patches of a positive slide are positive, and no others. Slides have 15 patches, or a number that is
log-normal (`skewed`: one in twenty has five times as many as the median). Independent patches have no
slides, and 400 of them are drawn. Data without positive patches in two groups are drawn again.

For each design the share of runs is given in which p is below 0.05 (nominally 0.05), and in which the
95% interval holds the true AUC, by the method of pcam and by Student's t with the bootstrap's standard
deviation and all groups' degrees of freedom (`before`). Runs that are refused a test are counted.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.special import logit
from scipy.stats import t

from pcam_features.evaluate.intervals import auc, auc_interval
from pcam_features.evaluate.spread import Contributions, contributions

NOISE = 0.7
TUMOR = 1.5
LARGE = 3000  # slides, for the true AUC
PATCHES = 400  # without slides


@dataclass(frozen=True)
class Setting:
    """What is simulated: slides, positive ones among them, their sizes (`patches`: one each)."""

    slides: int
    positive: int
    sizes: str


@dataclass(frozen=True)
class Outcome:
    """How often tests and intervals were wrong or right."""

    slides: int
    positive: int
    sizes: str
    tested: float
    type_i_error: float | None
    type_i_error_before: float
    coverage: float
    coverage_before: float


SETTINGS = [
    *(
        Setting(slides, positive, sizes)
        for sizes in ("equal", "skewed")
        for slides, positive in (
            *((40, positive) for positive in (2, 3, 4, 5, 10, 20)),
            *((20, positive) for positive in (5, 10, 20)),
            (120, 60),
        )
    ),
    *(Setting(PATCHES, positive, "patches") for positive in (2, 3, 4, 5, 6, 7, 8, 10, 20, 60)),
]


def simulated(setting: Setting, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels (n,), the scores of two models (2, n), and slides (n,)."""
    slides = setting.slides
    sizes = {
        "equal": np.full(slides, 15),
        "skewed": np.maximum(2, np.round(15 * np.exp(rng.normal(size=slides) - 0.5)).astype(int)),
        "patches": np.ones(slides, int),
    }[setting.sizes]
    slide = np.repeat(np.arange(slides), sizes)
    share = 1.0 if setting.sizes == "patches" else 0.5
    labels = ((slide < setting.positive) & (rng.random(len(slide)) < share)).astype(np.int8)
    own = rng.normal(size=(2, len(slide)))
    shifts = rng.normal(size=(2, 2, slides))[:, :, slide]
    common = rng.normal(size=len(slide)) + TUMOR * labels
    return labels, common + NOISE * (own + shifts[0] + shifts[1] * labels), slide


def usable(setting: Setting, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, ...]]:
    """Simulated data with positive patches in two groups."""
    while True:
        labels, scores, slide = simulated(setting, rng)
        if np.unique(slide[labels == 1]).size > 1:
            yield labels, scores, slide


def before(known: Contributions, weights: np.ndarray) -> float:
    """Half the interval that was given before: of Student's t with the bootstrap's spread."""
    positive = known.design.shares[0] > 0
    of_groups = weights @ (known.positive + known.negative)
    strata = [of_groups[positive], of_groups[~positive]]
    if min(map(len, strata)) < 2:
        strata = [of_groups]
    variance = sum(((one - one.mean()) ** 2).sum() for one in strata)
    return float(t.ppf(0.975, len(of_groups) - len(strata)) * np.sqrt(variance))


def outcome(setting: Setting, runs: int) -> Outcome:
    """The outcome of some runs."""
    large = Setting(LARGE, LARGE * setting.positive // setting.slides, setting.sizes)
    rng = np.random.default_rng([setting.slides, setting.positive, len(setting.sizes)])
    draws = [simulated(large, rng) for _ in range(4)]
    truth = float(np.mean([auc(labels, row) for labels, scores, _ in draws for row in scores]))
    pair, one = np.array([1.0, -1.0]), np.array([1.0, 0.0])
    false, false_before, held, held_before = [], [], [], []
    for (labels, scores, slide), _ in zip(usable(setting, rng), range(runs), strict=False):
        known = contributions(labels, scores, slide)
        values = [auc(labels, row) for row in scores]
        if known.design.enough:
            false.append(known.spread(pair).p_value(values[0] - values[1]) < 0.05)
        false_before.append(abs(values[0] - values[1]) > before(known, pair))
        interval = auc_interval(values[0], known.spread(one), known.design.effective)
        held.append(interval.low <= truth <= interval.high)
        inside = min(max(values[0], 1e-6), 1 - 1e-6)
        reach = before(known, one) / (inside * (1 - inside))
        held_before.append(abs(logit(inside) - logit(truth)) <= reach)
    return Outcome(
        **asdict(setting),
        tested=len(false) / runs,
        type_i_error=float(np.mean(false)) if false else None,
        type_i_error_before=float(np.mean(false_before)),
        coverage=float(np.mean(held)),
        coverage_before=float(np.mean(held_before)),
    )


def table(outcomes: list[Outcome]) -> str:
    """The outcomes as a table in Markdown."""
    lines = [
        "| slides | with tumor | sizes | p < 0.05 | before | interval holds the AUC | before |",
        "| ---: | ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    for one in outcomes:
        error = "not tested" if one.type_i_error is None else f"{one.type_i_error:.3f}"
        if one.type_i_error is not None and one.tested < 0.995:
            error += f" (of {one.tested:.0%})"
        groups = f"{one.slides} patches" if one.sizes == "patches" else f"{one.slides}"
        lines.append(
            f"| {groups} | {one.positive} | {one.sizes} | {error} | {one.type_i_error_before:.3f} "
            f"| {one.coverage:.3f} | {one.coverage_before:.3f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Simulate, or print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--table", type=Path)
    given = parser.parse_args()
    if given.table is not None:
        print(table([Outcome(**one) for one in json.loads(given.table.read_text())]))
        return
    outcomes = []
    for setting in SETTINGS:
        outcomes.append(outcome(setting, given.runs))
        print(outcomes[-1], file=sys.stderr, flush=True)
    print(json.dumps([asdict(one) for one in outcomes], indent=2))


if __name__ == "__main__":
    main()
