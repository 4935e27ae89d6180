"""Patches as other laboratories would have made them: another stain, another scanner, another file.

A view changes every patch of a split in one way (its shift) and at one strength. It has several
laboratories, each with its own numbers, drawn once by seed; a patch belongs to one of them by its
place. So a view differs from the original, and its patches differ from each other, as slides of several
new laboratories do. What was drawn is a list of plain numbers, the recipe, which can be written down.

Sources: D. Tellez et al., "Quantifying the effects of data augmentation and stain color normalization
in convolutional neural networks for computational pathology", Medical Image Analysis 2019 (which
changes matter); A. C. Ruifrok and D. A. Johnston, "Quantification of histochemical staining by color
deconvolution", 2001 (stain vectors).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from ..families.planes import RGB_FROM_HED
from ..geometry import PATCH_SIZE
from ..learn.copies import LEAST_COPIES
from ..sources.source import Split, digest
from ..store.names import SEPARATOR, copies_of

LABORATORIES = 8  # of each view
COPIES_SEED = 1  # of training copies: their laboratories are not those of the yardstick
PATCHES_PER_COPY, MOST_COPIES = 3, 20_000  # if no number is given
COPIES_STRENGTH = "moderate"
STRENGTHS = ("mild", "moderate", "strong")
Recipe = dict[str, list[float]]
Draw = Callable[[np.random.Generator, int], Recipe]
Change = Callable[[np.ndarray, Mapping[str, list[float]], np.random.Generator], np.ndarray]


def density_of(patches: np.ndarray) -> np.ndarray:
    """Optical density, float32, of uint8 colors."""
    density: np.ndarray = -np.log(np.maximum(patches, 1).astype(np.float32) / 255)
    return density


def colors_of(density: np.ndarray) -> np.ndarray:
    """The uint8 colors of optical densities."""
    return to_levels(255 * np.exp(-density))


def to_levels(values: np.ndarray) -> np.ndarray:
    """Round and clip to uint8."""
    levels: np.ndarray = np.rint(np.clip(values, 0, 255)).astype(np.uint8)
    return levels


def spread(rng: np.random.Generator, size: float, count: int) -> list[float]:
    """Numbers of between half of `size` and `size`, of random sign."""
    return list(rng.uniform(size / 2, size, count) * rng.choice([-1, 1], count))


def draw_amounts(rng: np.random.Generator, strength: int) -> Recipe:
    return {"log_factors": [*spread(rng, (0.15, 0.3, 0.5)[strength], 2), 0.0]}


def amounts(patches: np.ndarray, recipe: Mapping[str, list[float]], _: Any) -> np.ndarray:
    """More or less hematoxylin and eosin."""
    factors = np.exp(np.array(recipe["log_factors"]))
    through = np.linalg.inv(RGB_FROM_HED) * factors @ RGB_FROM_HED
    return colors_of(density_of(patches) @ through.astype(np.float32))


def draw_vectors(rng: np.random.Generator, strength: int) -> Recipe:
    return {"degrees": spread(rng, (4, 8, 14)[strength], 2), "around": list(rng.uniform(0, 360, 2))}


def turned(vector: np.ndarray, degrees: float, around: float) -> np.ndarray:
    """A unit vector turned by some degrees, in the direction `around` (degrees)."""
    first = np.cross(vector, (0.0, 0.0, 1.0))
    first /= np.linalg.norm(first)
    second = np.cross(vector, first)
    aside = np.cos(np.radians(around)) * first + np.sin(np.radians(around)) * second
    return np.asarray(np.cos(np.radians(degrees)) * vector + np.sin(np.radians(degrees)) * aside)


def vectors(patches: np.ndarray, recipe: Mapping[str, list[float]], _: Any) -> np.ndarray:
    """Other colors of hematoxylin and eosin: their vectors of optical density turn."""
    normal = RGB_FROM_HED / np.linalg.norm(RGB_FROM_HED, axis=1, keepdims=True)
    moved = normal.copy()
    for k, (degrees, around) in enumerate(zip(recipe["degrees"], recipe["around"], strict=True)):
        moved[k] = turned(normal[k], degrees, around)
    through = np.linalg.inv(normal) @ moved
    return colors_of(density_of(patches) @ through.astype(np.float32))


def draw_brightness(rng: np.random.Generator, strength: int) -> Recipe:
    return {
        "log_gain": spread(rng, (0.05, 0.1, 0.2)[strength], 1),
        "log_gamma": spread(rng, (0.1, 0.2, 0.35)[strength], 1),
    }


def brightness(patches: np.ndarray, recipe: Mapping[str, list[float]], _: Any) -> np.ndarray:
    """Another exposure and another tone curve."""
    gain, gamma = np.exp(recipe["log_gain"][0]), np.exp(recipe["log_gamma"][0])
    table = to_levels(255 * gain * (np.arange(256) / 255) ** gamma)
    changed: np.ndarray = table[patches]
    return changed


def draw_white_balance(rng: np.random.Generator, strength: int) -> Recipe:
    return {"log_gains": spread(rng, (0.04, 0.08, 0.15)[strength], 3)}


def white_balance(patches: np.ndarray, recipe: Mapping[str, list[float]], _: Any) -> np.ndarray:
    """Another gain of each color channel."""
    return to_levels(patches * np.exp(np.array(recipe["log_gains"], np.float32)))


def draw_blur(rng: np.random.Generator, strength: int) -> Recipe:
    size = (0.5, 0.8, 1.2)[strength]
    return {"sigma": [float(rng.uniform(size / 2, size))]}


def blur(patches: np.ndarray, recipe: Mapping[str, list[float]], _: Any) -> np.ndarray:
    """Out of focus: a Gaussian blur of `sigma` pixels."""
    return np.stack([cv2.GaussianBlur(patch, (0, 0), recipe["sigma"][0]) for patch in patches])


def draw_jpeg(rng: np.random.Generator, strength: int) -> Recipe:
    worst, finest = ((75, 90), (50, 70), (25, 45))[strength]
    return {"quality": [float(rng.integers(worst, finest + 1))]}


def jpeg(patches: np.ndarray, recipe: Mapping[str, list[float]], _: Any) -> np.ndarray:
    """Compressed once more as JPEG."""
    options = [cv2.IMWRITE_JPEG_QUALITY, int(recipe["quality"][0])]
    changed = np.empty_like(patches)
    for k, patch in enumerate(patches):
        _, content = cv2.imencode(".jpg", patch[..., ::-1], options)
        changed[k] = np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR))[..., ::-1]
    return changed


def draw_noise(rng: np.random.Generator, strength: int) -> Recipe:
    size = (3.0, 6.0, 10.0)[strength]
    return {"sigma": [float(rng.uniform(size / 2, size))]}


def noise(
    patches: np.ndarray, recipe: Mapping[str, list[float]], rng: np.random.Generator
) -> np.ndarray:
    """Noise of the sensor: independent for each value, of `sigma` levels."""
    return to_levels(patches + rng.normal(0, recipe["sigma"][0], patches.shape).astype(np.float32))


@dataclass(frozen=True)
class Shift:
    """One way in which laboratories differ: how its numbers are drawn, and what they do to patches."""

    draw: Draw
    change: Change


SHIFTS = {
    "amounts": Shift(draw_amounts, amounts),
    "vectors": Shift(draw_vectors, vectors),
    "brightness": Shift(draw_brightness, brightness),
    "white_balance": Shift(draw_white_balance, white_balance),
    "blur": Shift(draw_blur, blur),
    "jpeg": Shift(draw_jpeg, jpeg),
    "noise": Shift(draw_noise, noise),
}


@dataclass(frozen=True)
class View:
    """One shift at one strength: a recipe for each of several laboratories.

    Parameters
    ----------
    shift, strength
        A key of `SHIFTS` and one of `STRENGTHS`.
    seed
        Decides the noise and which patch belongs to which laboratory.
    recipes
        The numbers of each laboratory.
    """

    shift: str
    strength: str
    seed: int
    recipes: tuple[Recipe, ...]

    @property
    def name(self) -> str:
        """The view's name, such as `blur-mild`."""
        return f"{self.shift}-{self.strength}"

    def of(self, patches: np.ndarray, first: int = 0) -> np.ndarray:
        """Patches as they look in this view.

        Parameters
        ----------
        patches
            uint8 (n, 96, 96, 3).
        first
            The place of the first patch in its split, which decides its laboratory.

        Returns
        -------
        numpy.ndarray
            uint8 (n, 96, 96, 3). A patch looks the same whatever the others are.
        """
        changed = np.empty_like(patches)
        for k, patch in enumerate(patches):
            rng = np.random.default_rng([self.seed, first + k])
            recipe = self.recipes[rng.integers(len(self.recipes))]
            changed[k] = SHIFTS[self.shift].change(patch[None], recipe, rng)[0]
        return changed


def draw_view(shift: str, strength: str, seed: int) -> View:
    """Draw the laboratories of a view."""
    rng = np.random.default_rng([seed, list(SHIFTS).index(shift), STRENGTHS.index(strength)])
    level = STRENGTHS.index(strength)
    recipes = tuple(SHIFTS[shift].draw(rng, level) for _ in range(LABORATORIES))
    return View(shift, strength, int(rng.integers(2**31)), recipes)


def draw_copy(shift: str, row: int, seed: int = COPIES_SEED) -> View:
    """Draw the view of one training copy: a laboratory of its own.

    Parameters
    ----------
    shift
        A key of `SHIFTS`.
    row
        The place of the copy's patch in its split.
    seed
        Seed of all copies.
    """
    level = STRENGTHS.index(COPIES_STRENGTH)
    rng = np.random.default_rng([seed, list(SHIFTS).index(shift), level, row])
    recipe = SHIFTS[shift].draw(rng, level)
    return View(shift, COPIES_STRENGTH, int(rng.integers(2**31)), (recipe,))


def views(seed: int = 0) -> dict[str, View]:
    """All shifts at all strengths, by name."""
    drawn = (draw_view(shift, strength, seed) for shift in SHIFTS for strength in STRENGTHS)
    return {view.name: view for view in drawn}


def seen(split: Split, view: View) -> Split:
    """A split as it looks in a view; it is called `SPLIT-VIEW`, such as `valid-blur-mild`."""

    def read(start: int, stop: int) -> np.ndarray:
        return view.of(split.read(start, stop), start)

    def content(start: int, stop: int) -> str:
        return digest([split.content(start, stop), repr(view)])

    name = f"{split.name}-{view.name}"
    return replace(split, name=name, read=read, content=content, original=None, tiles=None)


def usual_count(patches: int) -> int:
    """How many copies are made of some training patches if no number is given.

    One for three patches, at most MOST_COPIES; none if some shifts would have too few to be scored.

    Examples
    --------
    >>> [usual_count(patches) for patches in (1_000, 2_738, 20_000, 220_025)]
    [0, 912, 6666, 20000]
    """
    count = min(patches // PATCHES_PER_COPY, MOST_COPIES)
    return count if count >= LEAST_COPIES * len(SHIFTS) else 0


def copies(split: Split, count: int, seed: int = COPIES_SEED) -> Split:
    """Copies of some patches of a labeled split, each in a moderate view: a split of its own.

    Models are trained on them as well, so that they learn what other laboratories change, and scored on
    them out of fold. Each copy comes from a laboratory of its own, so whatever the folds are, no model
    is scored on a laboratory whose patches it has seen.

    Parameters
    ----------
    split
        The patches.
    count
        The number of copies; one of each patch if there are fewer patches.
    seed
        Decides the laboratories and how each patch is changed.

    Returns
    -------
    Split
        Its ids are `ID~SHIFT`. Patches are drawn evenly from the split, shifts evenly from `SHIFTS`.
    """
    rng = np.random.default_rng(seed)
    count = min(count, len(split))
    rows = np.sort(rng.choice(len(split), count, replace=False))
    names = list(SHIFTS)
    shifts = [names[k] for k in rng.permutation(np.arange(count) % len(names))]

    def view(k: int) -> View:
        return draw_copy(shifts[k], int(rows[k]), seed)

    def read(start: int, stop: int) -> np.ndarray:
        batch = np.empty((stop - start, PATCH_SIZE, PATCH_SIZE, 3), np.uint8)
        for k in range(start, stop):
            row = int(rows[k])
            batch[k - start] = view(k).of(split.read(row, row + 1), row)[0]
        return batch

    def content(start: int, stop: int) -> str:
        known = (split.content(int(row), int(row) + 1) for row in rows[start:stop])
        return digest([*known, *(repr(view(k)) for k in range(start, stop))])

    return Split(
        copies_of(split.name),
        [f"{split.ids[row]}{SEPARATOR}{shift}" for row, shift in zip(rows, shifts, strict=True)],
        None if split.labels is None else split.labels[rows],
        [split.slides[row] for row in rows],
        content,
        read,
    )
