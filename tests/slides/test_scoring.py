"""Scores of maps: FROC against a brute-force count and a worked example, lesions by Camelyon's rule."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Result

from pcam_features.errors import InputError
from pcam_features.slides.annotations import Annotations, Shape
from pcam_features.slides.scoring import (
    FALSE_POSITIVES,
    Detection,
    ScoredMap,
    SlideOutcome,
    froc,
    outcome_of,
    read_map,
    scores,
)

Run = Callable[..., Result]


def by_counting(outcomes: list[SlideOutcome], at: float) -> float:
    """The sensitivity at a number of false positives a slide, threshold by threshold."""
    lesions = sum(one.lesions for one in outcomes)
    every = {value for one in outcomes for value in (*one.found, *one.false)}
    points = {0.0: 0.0}
    for threshold in every:
        wrong = sum(value >= threshold for one in outcomes for value in one.false) / len(outcomes)
        hits = sum(value >= threshold for one in outcomes for value in one.found) / lesions
        points[wrong] = max(points.get(wrong, 0.0), hits)
    below = max(place for place in points if place <= at)
    above = [place for place in points if place > at]
    if not above:
        return points[below]
    share = (at - below) / (min(above) - below)
    return points[below] + share * (points[min(above)] - points[below])


@pytest.mark.parametrize("seed", range(8))
def test_oracle_froc_is_what_counting_gives(seed: int) -> None:
    rng = np.random.default_rng(seed)
    outcomes = []
    for k in range(7):
        lesions = int(rng.integers(0, 5))
        found = np.round(rng.random(int(rng.integers(0, lesions + 1))), 1)  # with ties
        false = np.round(rng.random(int(rng.integers(0, 12))) * 0.8, 1)
        label = int(lesions > 0)
        outcomes.append(
            SlideOutcome(str(k), label, 0.5, lesions, tuple(found.tolist()), tuple(false.tolist()))
        )
    curve = froc(outcomes)
    assert curve is not None
    np.testing.assert_allclose(curve, [by_counting(outcomes, at) for at in FALSE_POSITIVES])


def test_oracle_a_worked_example_of_froc() -> None:
    """Two slides, four lesions: found at .9, .8, .3 and one missed; false positives at .85, .5, .2."""
    one = SlideOutcome("a", 1, 0.9, 3, (0.9, 0.3), (0.85, 0.2))
    other = SlideOutcome("b", 1, 0.8, 1, (0.8,), (0.5,))
    # Thresholds .9, .85, .8, .5, .3, .2: 0, ½, ½, 1, 1, 1½ false positives a slide, and sensitivities
    # ¼, ¼, ½, ½, ¾, ¾. At ¼, half way from ¼ to ½.
    curve = froc([one, other])
    assert curve is not None
    np.testing.assert_allclose(curve, [0.375, 0.5, 0.75, 0.75, 0.75, 0.75])
    result = scores([one, other])
    assert result.froc.value == pytest.approx(np.mean(curve))
    assert result.auc.value is None  # no slide without tumor


def square(x: float, y: float, side: float) -> Shape:
    return Shape((np.array([[x, y], [x + side, y], [x + side, y + side], [x, y + side]], float),))


def test_oracle_lesions_are_joined_and_small_ones_ignored_as_in_camelyon() -> None:
    scale = 0.972  # micrometers per pixel
    shapes = (
        square(500, 500, 400),
        square(500 + 400 + 60 / scale, 500, 400),  # 60 µm away: the same lesion
        square(2000, 500, 400),  # far away: another
        square(500, 2000, 100),  # 97 µm: isolated tumor cells
    )
    places = {
        "joined, twice": [(600, 600, 0.7), (1100, 600, 0.9)],
        "other": [(2200, 700, 0.6)],
        "small": [(550, 2050, 0.8)],
        "outside": [(3000, 3000, 0.5), (1500, 1500, 0.4)],
    }
    detections = tuple(Detection(*place) for group in places.values() for place in group)
    scored = ScoredMap("a", 4000, 4000, scale, 0.9, detections)
    found = outcome_of(scored, Annotations(shapes))
    assert found.lesions == 2
    assert sorted(found.found) == [0.6, 0.9]
    assert sorted(found.false) == [0.4, 0.5]
    assert outcome_of(scored, Annotations()).false == tuple(one.confidence for one in detections)


def write_map(folder: Path, slide: str, score: float, regions: list[tuple[int, int, float]]) -> None:
    folder.mkdir(parents=True)
    record = {
        "map_version": 1,
        "slide": f"slides/{slide}.tif",
        "width": 4000,
        "height": 4000,
        "mpp": 0.972,
        "score": score,
        "regions": [{"x": x, "y": y, "maximum": maximum} for x, y, maximum in regions],
    }
    (folder / "map.json").write_text(json.dumps(record))


def outline(path: Path, side: int) -> None:
    ring = [[500, 500], [500 + side, 500], [500 + side, 500 + side], [500, 500 + side]]
    path.write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))


def test_mechanics_the_command_scores_a_folder_of_maps(pcam: Run, tmp_path: Path) -> None:
    for k in range(4):
        write_map(tmp_path / "maps" / f"t{k}", f"t{k}", 0.9 - k / 10, [(700, 700, 0.9), (3000, 9, 0.6)])
        write_map(tmp_path / "maps" / f"n{k}", f"n{k}", 0.5 - k / 10, [])
        outline(tmp_path / f"t{k}.geojson", 600)
    words = ("slide", "score", tmp_path / "maps", "--annotations", tmp_path)
    refused = pcam(*words)
    assert refused.code == 2
    assert "no annotations of slide n0" in refused.err
    done = pcam(*words, "--unannotated", "--json")
    assert done.code == 0, done.err
    result: dict[str, Any] = json.loads(done.out)
    assert result["auc"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert result["froc"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert list(result["sensitivities"]) == ["0.25", "0.5", "1", "2", "4", "8"]
    assert [one["lesions"] for one in result["slides"]] == [0] * 4 + [1] * 4
    text = pcam(*words, "--unannotated").out
    assert "8 slides, 4 with tumor, 4 lesions" in text


@pytest.mark.parametrize(
    ("name", "value"),
    [("score", 2), ("mpp", 0), ("width", 1 << 40), ("regions", {}), ("slide", 3), ("regions", [{}])],
)
def test_regression_a_damaged_map_is_one_sentence(tmp_path: Path, name: str, value: Any) -> None:
    write_map(tmp_path / "map", "a", 0.5, [])
    file = tmp_path / "map" / "map.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {name: value}))
    with pytest.raises(InputError, match="is damaged"):
        read_map(tmp_path / "map")
