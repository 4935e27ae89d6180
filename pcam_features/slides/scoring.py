"""Scores of maps against outlines of tumor: slide-level AUC, and FROC as Camelyon16 defines it.

B. Ehteshami Bejnordi et al., "Diagnostic assessment of deep learning algorithms for detection of lymph
node metastases in women with breast cancer", JAMA 2017, and its evaluation script: lesions are outlines
that are less than 75 µm apart; one whose longest extent is below 275 µm is a group of isolated tumor
cells, which is neither to be found nor a false positive. A detection inside a lesion finds it with the
highest confidence of any; one outside of all is a false positive. The score is the mean sensitivity at
1/4, 1/2, 1, 2, 4 and 8 false positives a slide.

A detection is a region of the map: its highest center, and the probability there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy import ndimage

from ..errors import InputError
from ..evaluate.intervals import auc
from ..sources.fitting import PCAM_MPP
from ..storage.fields import Fields
from ..storage.files import read_json
from ..words import counted
from .annotations import Annotations, annotations_in

MASK_MPP = 8 * PCAM_MPP  # micrometers per pixel of the mask of lesions: 7.776, Camelyon's level 5
APART_UM = 75.0  # outlines that are nearer to each other are one lesion
SMALL_UM = 275.0  # lesions of a smaller extent are isolated tumor cells
FALSE_POSITIVES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # a slide
LARGEST_SIDE = 1 << 15  # pixels of a mask
MOST_REGIONS = 1_000_000
RESAMPLES = 1000
LEVEL = 0.95  # of intervals
MARK = "map.json"


@dataclass(frozen=True)
class Detection:
    """A place where a map sees tumor, in pixels of level 0, and its probability."""

    x: int
    y: int
    confidence: float


@dataclass(frozen=True)
class ScoredMap:
    """A map as it is scored: its slide, its size and scale, its score and its detections."""

    slide: str
    width: int
    height: int
    mpp: float
    score: float
    detections: tuple[Detection, ...]


@dataclass(frozen=True)
class SlideOutcome:
    """What a map found of a slide's lesions.

    Parameters
    ----------
    slide
        The slide's name.
    label
        1 if there is tumor on it.
    score
        The map's score.
    lesions
        Number of lesions, without isolated tumor cells.
    found
        The highest confidence inside each lesion that was found.
    false
        The confidence of each false positive.
    """

    slide: str
    label: int
    score: float
    lesions: int
    found: tuple[float, ...]
    false: tuple[float, ...]


@dataclass(frozen=True)
class Interval:
    """A value and its interval; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class SlideScores:
    """The scores of some maps.

    Parameters
    ----------
    auc
        AUC of slides, by the scores of their maps.
    froc
        The mean sensitivity to lesions at `FALSE_POSITIVES`.
    sensitivities
        The sensitivity at each number of false positives a slide.
    slides
        What was found of each slide.
    """

    auc: Interval
    froc: Interval
    sensitivities: dict[str, float | None]
    slides: tuple[SlideOutcome, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)


def read_map(folder: Path) -> ScoredMap:
    """Read what is scored of a map. Raises InputError if it is damaged."""
    content = read_json(folder / MARK, "map", "make the map again")
    try:
        known = Fields(content)
        regions = known.items("regions")
        if len(regions) > MOST_REGIONS:
            raise ValueError(f"it has more than {MOST_REGIONS:,} regions")
        width, height = known.whole("width", 1), known.whole("height", 1)
        mpp = known.number("mpp", 0.01, 100)
        if max(width, height) * mpp / MASK_MPP > LARGEST_SIDE:
            raise ValueError("the slide is larger than any")
        return ScoredMap(
            slide=Path(known.text("slide")).stem,
            width=width,
            height=height,
            mpp=mpp,
            score=known.share("score"),
            detections=tuple(
                Detection(one.whole("x", 0, width), one.whole("y", 0, height), one.share("maximum"))
                for one in regions
            ),
        )
    except ValueError as error:
        raise InputError(f"map {folder} is damaged ({error}); make it again.") from None


def lesions_of(drawn: np.ndarray, mpp: float) -> tuple[np.ndarray, set[int]]:
    """The lesions in a mask of tumor, and which of them are isolated tumor cells.

    Parameters
    ----------
    drawn
        Where there is tumor, bool (height, width).
    mpp
        Micrometers per pixel of the mask.

    Returns
    -------
    labels : numpy.ndarray
        int32 (height, width): 0 outside, and a number for each lesion.
    small : set of int
        The numbers of the lesions that are isolated tumor cells.
    """
    if not drawn.any():
        return np.zeros(drawn.shape, np.int32), set()
    away = cv2.distanceTransform((~drawn).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    near = ndimage.binary_fill_holes(away < APART_UM / (2 * mpp))
    count, labels = cv2.connectedComponents(near.astype(np.uint8), connectivity=8)
    least = SMALL_UM / mpp
    small = {
        k + 1
        for k, place in enumerate(ndimage.find_objects(labels, max_label=count - 1))
        if place is not None and extent_of(labels[place] == k + 1) < least
    }
    return labels, small


def extent_of(inside: np.ndarray) -> float:
    """The length of a shape: the major axis of the ellipse that has its second moments, in pixels.

    Examples
    --------
    >>> round(extent_of(np.ones((3, 12), bool)), 2)
    13.81
    """
    from skimage.measure import regionprops

    return float(regionprops(inside.astype(np.uint8))[0].axis_major_length)


def outcome_of(scored: ScoredMap, outlines: Annotations) -> SlideOutcome:
    """What a map found of the lesions of its slide."""
    step = MASK_MPP / scored.mpp
    size = (int(np.ceil(scored.width / step)), int(np.ceil(scored.height / step)))
    drawn = outlines.mask(0, 0, size, step)
    labels, small = lesions_of(drawn, MASK_MPP)
    found: dict[int, float] = {}
    false = []
    for one in scored.detections:
        row, column = min(int(one.y / step), size[1] - 1), min(int(one.x / step), size[0] - 1)
        lesion = int(labels[row, column])
        if not lesion:
            false.append(one.confidence)
        elif lesion not in small:
            found[lesion] = max(found.get(lesion, 0.0), one.confidence)
    return SlideOutcome(
        slide=scored.slide,
        label=int(bool(outlines.tumor)),
        score=scored.score,
        lesions=int(labels.max()) - len(small),
        found=tuple(found.values()),
        false=tuple(false),
    )


def froc(outcomes: Sequence[SlideOutcome]) -> np.ndarray | None:
    """The sensitivity to lesions at each of `FALSE_POSITIVES`; None without a lesion.

    Between two thresholds it is interpolated linearly, as Camelyon16's script does.

    Examples
    --------
    >>> found = SlideOutcome("a", 1, 0.9, 2, (0.9, 0.4), (0.6,))
    >>> clean = SlideOutcome("b", 0, 0.1, 0, (), ())
    >>> froc([found, clean]).tolist()
    [0.75, 1.0, 1.0, 1.0, 1.0, 1.0]
    """
    lesions = sum(one.lesions for one in outcomes)
    if not lesions:
        return None
    found = np.sort([value for one in outcomes for value in one.found])
    false = np.sort([value for one in outcomes for value in one.false])
    thresholds = np.unique(np.concatenate([found, false]))[::-1]
    hits = (len(found) - np.searchsorted(found, thresholds)) / lesions
    wrong = (len(false) - np.searchsorted(false, thresholds)) / len(outcomes)
    hits, wrong = np.concatenate([[0.0], hits]), np.concatenate([[0.0], wrong])
    last = np.flatnonzero(np.diff(wrong, append=np.inf))  # the lowest threshold of each number
    return np.interp(FALSE_POSITIVES, wrong[last], hits[last])


def slide_auc(outcomes: Sequence[SlideOutcome]) -> float | None:
    """The AUC of slides by the scores of their maps; None unless there are both kinds."""
    labels = np.array([one.label for one in outcomes])
    if labels.min() == labels.max():
        return None
    return float(auc(labels, np.array([one.score for one in outcomes])))


def scores(outcomes: Sequence[SlideOutcome], seed: int = 0) -> SlideScores:
    """The scores of maps, with intervals from resampling slides with and without tumor apart.

    Parameters
    ----------
    outcomes
        What each map found.
    seed
        Seed of the resampling.
    """
    rng = np.random.default_rng(seed)
    kinds = [np.array([k for k, one in enumerate(outcomes) if one.label == label]) for label in (0, 1)]
    drawn: dict[str, list[float]] = {"auc": [], "froc": []}
    for _ in range(RESAMPLES):
        rows = np.concatenate([rng.choice(kind, len(kind)) for kind in kinds if len(kind)])
        chosen = [outcomes[k] for k in rows.tolist()]
        for name, value in (("auc", slide_auc(chosen)), ("froc", mean_of(froc(chosen)))):
            if value is not None:
                drawn[name].append(value)
    curve = froc(outcomes)
    told = [None] * len(FALSE_POSITIVES) if curve is None else curve.tolist()
    return SlideScores(
        auc=interval_of(slide_auc(outcomes), drawn["auc"], min(map(len, kinds))),
        froc=interval_of(mean_of(curve), drawn["froc"], len(kinds[1])),
        sensitivities={f"{at:g}": value for at, value in zip(FALSE_POSITIVES, told, strict=True)},
        slides=tuple(outcomes),
    )


def mean_of(curve: np.ndarray | None) -> float | None:
    """The mean of a curve, if there is one."""
    return None if curve is None else float(curve.mean())


def interval_of(value: float | None, drawn: Sequence[float], slides: int) -> Interval:
    """A value with its interval; without one if fewer than two slides of a kind were drawn from."""
    if value is None or slides < 2 or not drawn:
        return Interval(value, None, None)
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    return Interval(value, low, high)


def maps_in(path: Path) -> list[Path]:
    """The maps at a path: a map, or the maps in a folder. Raises InputError if there is none."""
    if (path / MARK).is_file():
        return [path]
    found = [file.parent for file in sorted(path.glob(f"*/{MARK}"))] if path.is_dir() else []
    if not found:
        raise InputError(f"{path} holds no maps; make some with pcam slide map.")
    return found


def score_maps(
    maps: Path,
    annotations: Path,
    *,
    unannotated: bool = False,
    tumor: Sequence[str] = (),
    seed: int = 0,
) -> SlideScores:
    """Score maps against the outlines of tumor on their slides.

    Parameters
    ----------
    maps
        A map, or a folder of maps.
    annotations
        A folder with a file of each slide's name.
    unannotated
        Whether a slide without a file has no tumor. Otherwise it is refused.
    tumor
        The names of classes that are tumor; empty for the usual ones.
    seed
        Seed of the resampling.

    Raises
    ------
    InputError
        If there is no map, a slide has two, or one has no annotations.
    """
    outcomes: list[SlideOutcome] = []
    for folder in maps_in(maps):
        scored = read_map(folder)
        if any(one.slide == scored.slide for one in outcomes):
            raise InputError(f"{maps} has two maps of slide {scored.slide}; remove one.")
        name = scored.slide
        outlines = annotations_in(annotations, name, name, tumor=tumor, unannotated=unannotated)
        outcomes.append(outcome_of(scored, outlines))
    return scores(outcomes, seed)


def sentences(result: SlideScores) -> list[str]:
    """The scores in sentences, without a period."""
    with_tumor = sum(one.label for one in result.slides)
    lesions = sum(one.lesions for one in result.slides)
    return [
        f"{counted(len(result.slides), 'slide')}, {with_tumor:,} with tumor, "
        f"{counted(lesions, 'lesion')} without isolated tumor cells",
        f"slide AUC {told(result.auc)}",
        f"FROC {told(result.froc)}",
    ]


def told(interval: Interval) -> str:
    """A value with its interval as text."""
    if interval.value is None:
        return "not defined"
    if interval.low is None or interval.high is None:
        return f"{interval.value:.4f}"
    return f"{interval.value:.4f} [{interval.low:.4f}, {interval.high:.4f}]"
