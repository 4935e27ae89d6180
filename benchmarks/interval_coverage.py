"""Coverage of nominal 95% intervals of AUC in simulated data where slides shift all of their scores.

    python benchmarks/interval_coverage.py --runs 1000 > coverage.json
    python benchmarks/interval_coverage.py --draw coverage.json    # docs/coverage.svg, and a table

Half of the slides have tumor, in 30% to 90% of their patches. A slide has 10 to 30 patches. A score is
the sum of the slide's shift (standard normal), standard normal noise, and 1.5 for tumor.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from pcam_features.evaluate import metrics
from pcam_features.evaluate.intervals import auc, auc_intervals, delong, normal_interval
from pcam_features.evaluate.resampling import resampled, stratify
from pcam_features.evaluate.spread import LEVEL

FIGURE = Path(__file__).parents[1] / "docs" / "coverage.svg"
SLIDES = (15, 30, 60, 120, 240)
RESAMPLES = 400
METHODS = {
    "pcam": "contributions of slides, on log-odds (pcam)",
    "percentiles": "slides resampled, percentiles",
    "patches": "contributions of patches, on log-odds",
    "delong": "DeLong, patches independent",
}
COLORS = {"pcam": "#0072B2", "percentiles": "#009E73", "patches": "#D55E00", "delong": "#7F7F7F"}


def simulated(rng: np.random.Generator, slides: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Simulated labels, scores and slides."""
    slide = np.repeat(np.arange(slides), rng.integers(10, 31, slides))
    tumor = rng.random(slides) < 0.5
    tumor[:4] = True, True, False, False
    share = np.where(tumor, rng.uniform(0.3, 0.9, slides), 0)
    labels = (rng.random(len(slide)) < share[slide]).astype(np.int8)
    scores = rng.normal(size=slides)[slide] + rng.normal(size=len(slide)) + 1.5 * labels
    return labels, scores, slide


def intervals(
    labels: np.ndarray, scores: np.ndarray, slide: np.ndarray, seed: int
) -> dict[str, tuple[float, float]]:
    """The interval by each of METHODS."""
    ranking, value = metrics.rank(labels, scores[None]), auc(labels, scores)
    found = {}
    for name, groups in (("pcam", slide), ("patches", np.arange(len(labels)))):
        (one,) = auc_intervals(labels, scores[None], groups)
        found[name] = (one.low, one.high)
    (drawn,) = resampled(
        lambda weights: metrics.ranked(ranking, weights)[:, 0],
        labels,
        stratify(labels, slide),
        resamples=RESAMPLES,
        seed=seed,
    )
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    found["percentiles"] = (float(low), float(high))
    _, covariance = delong(labels, scores[None])
    one = normal_interval(value, float(covariance[0, 0]), (0, 1))
    return found | {"delong": (one.low, one.high)}


def run(runs: int) -> dict[str, dict[str, float]]:
    """For each number of slides, the share of runs in which each interval covered the true AUC."""
    found = {}
    for slides in SLIDES:
        rng = np.random.default_rng(slides)
        truth = np.mean([auc(*simulated(rng, 5000)[:2]) for _ in range(6)])
        held = dict.fromkeys(METHODS, 0)
        for k in range(runs):
            for name, (low, high) in intervals(*simulated(rng, slides), seed=k).items():
                held[name] += int(low <= truth <= high)
        found[str(slides)] = {name: count / runs for name, count in held.items()}
        print(slides, found[str(slides)], file=sys.stderr)
    return found


def figure(found: dict[str, dict[str, float]]) -> str:
    left, right, top, bottom = 50, 640, 20, 300

    def x(k: int) -> float:
        return left + (right - left) * (k + 0.5) / len(found)

    def y(share: float) -> float:
        return bottom - (bottom - top) * (share - 0.2) / 0.8

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 660 {bottom + 130}" '
        'font-family="sans-serif" font-size="13" fill="#555" role="img" '
        'aria-label="Share of intervals that cover the true AUC, by number of slides">',
        f'<rect x="{left}" y="{y(0.97):.1f}" width="{right - left}" height="{y(0.93) - y(0.97):.1f}" '
        'fill="#0072B2" opacity="0.15"/>',
    ]
    parts += [
        f'<path d="M{left} {y(share):.1f}H{right}" stroke="#8886"/>'
        f'<text x="{left - 8}" y="{y(share) + 4:.1f}" text-anchor="end">{share:.2f}</text>'
        for share in (0.2, 0.4, 0.6, 0.8, 0.95)
    ]
    for k, slides in enumerate(found):
        text = f'<text x="{x(k):.1f}" y="{bottom + 20}" text-anchor="middle">{slides} slides</text>'
        parts.append(text)
    for row, (name, title) in enumerate(METHODS.items()):
        points = [(x(k), y(one[name])) for k, one in enumerate(found.values())]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{COLORS[name]}" stroke-width="2"/>'
        )
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="4" fill="{COLORS[name]}"/>' for a, b in points]
        legend = bottom + 46 + 20 * row
        parts.append(f'<circle cx="{left + 6}" cy="{legend - 4}" r="5" fill="{COLORS[name]}"/>')
        parts.append(f'<text x="{left + 20}" y="{legend}">{title}</text>')
    return "\n".join([*parts, "</svg>\n"])


def table(found: dict[str, dict[str, float]]) -> str:
    lines = ["| slides | " + " | ".join(METHODS.values()) + " |", "| ---: " * 5 + "|"]
    for slides, one in found.items():
        lines.append(f"| {slides} | " + " | ".join(f"{one[name]:.3f}" for name in METHODS) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--draw", type=Path)
    given = parser.parse_args()
    if given.draw is None:
        print(json.dumps(run(given.runs), indent=2))
        return
    found = json.loads(given.draw.read_text())
    FIGURE.write_text(figure(found), encoding="utf-8")
    print(table(found))


if __name__ == "__main__":
    main()
