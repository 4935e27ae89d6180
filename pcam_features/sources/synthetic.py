"""Synthetic H&E: patches of our own, for demonstrations and tests without anyone's data.

A slide has its own stain vectors, intensities, blur and noise, and its own mix of tissue; a patch
is drawn as two concentrations, hematoxylin and eosin, and stained by Beer and Lambert's law.
Lymphocytes are small, round and dense; stroma is fibers with spindle nuclei; fat is round holes;
glass is bare; follicles are pale zones of larger but even nuclei, there to be mistaken for tumor;
tumor nests have large, uneven, vesicular nuclei with nucleoli. A patch is positive only if
a nest reaches the center 32×32; some negatives have one in the ring alone.

As a source it is written `synthetic:PATCHES[:SLIDES[:SEED]]`, and `pcam synth` writes it to disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from ..engine.regions import CENTER, PATCH_SIZE
from ..errors import InputError
from .source import Source, Split

KIND = "synthetic"
PROTOCOL = "Rendered by pcam, not tissue. Slides are independent; no slide is in two splits."
LARGEST = 1_000_000  # patches
FIELD = 512  # pixels of a noise field, from which patches cut windows
STAINS = np.array([[0.60, 0.70, 0.38], [0.09, 0.90, 0.38]])  # usual hematoxylin, eosin in R, G, B
SUBPIXEL = 4  # bits of a pixel's fraction in drawing
ONE = 1 << SUBPIXEL
SPLITS = ("train", "test")
Patch = tuple[np.ndarray, int]


@dataclass(frozen=True)
class Slide:
    """What the patches of one slide share."""

    name: str
    stains: np.ndarray  # (2, 3), optical density of hematoxylin and eosin in R, G, B
    strength: np.ndarray  # (2,), how deeply each is taken up
    white: np.ndarray  # (3,), the light of bare glass
    blur: float  # pixels
    noise: float  # levels
    density: float  # lymphocytes, against the usual
    tumor: float  # the share of patches whose center a nest reaches
    tissue: np.ndarray  # (4,), the shares of lymphoid tissue, follicle, stroma and fat


@lru_cache(maxsize=4)
def noise_fields(seed: int) -> dict[str, np.ndarray]:
    """Smooth random fields of unit deviation that wrap around, and one drawn out into fibers."""
    rng = np.random.default_rng([seed, 1])

    def field(width: float, height: float) -> np.ndarray:
        white = np.tile(rng.standard_normal((FIELD, FIELD)).astype(np.float32), (3, 3))
        smooth = cv2.GaussianBlur(white, (0, 0), width, sigmaY=height)
        cut = smooth[FIELD : 2 * FIELD, FIELD : 2 * FIELD]
        cut = (cut - cut.mean()) / cut.std()
        return np.tile(cut, (2, 2))  # windows may then start anywhere

    return {
        "fine": field(1.0, 1.0),
        "medium": field(3.0, 3.0),
        "coarse": field(12.0, 12.0),
        "fiber": field(14.0, 1.3),
        "grain": field(0.3, 0.3),
    }


def window(fields: dict[str, np.ndarray], name: str, rng: np.random.Generator) -> np.ndarray:
    y, x = rng.integers(0, FIELD, 2)
    return fields[name][y : y + PATCH_SIZE, x : x + PATCH_SIZE]


def make_slide(name: str, rng: np.random.Generator) -> Slide:
    stains = STAINS + rng.normal(0, [[0.06, 0.05, 0.07], [0.03, 0.06, 0.11]])
    stains = np.clip(stains, 0.02, None)
    stains /= np.linalg.norm(stains, axis=1, keepdims=True)
    return Slide(
        name=name,
        stains=stains,
        strength=rng.uniform([0.55, 0.3], [1.0, 0.7]),
        white=rng.uniform(232, 250) + rng.normal(0, 2, 3),
        blur=rng.uniform(0.45, 1.0),
        noise=rng.uniform(1.0, 4.0),
        density=rng.uniform(0.75, 1.2),
        tumor=float(rng.uniform(0.3, 0.75)) if rng.random() < 0.8 else 0.05,
        tissue=rng.dirichlet([5, 2, 2, 1]),
    )


class Canvas:
    """The two concentrations of a patch while it is drawn, each 0–255 for 0 to 2.55."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.hematoxylin = np.zeros((PATCH_SIZE, PATCH_SIZE), np.uint8)
        self.eosin = np.zeros((PATCH_SIZE, PATCH_SIZE), np.uint8)

    def ellipse(
        self, image: np.ndarray, x: float, y: float, a: float, b: float, turn: float, level: float
    ) -> None:
        at, axes = (int(x * ONE), int(y * ONE)), (int(a * ONE), int(b * ONE))
        color = (int(level),)
        cv2.ellipse(image, at, axes, turn, 0, 360, color, cv2.FILLED, cv2.LINE_AA, SUBPIXEL)


def scatter(rng: np.random.Generator, spacing: float, mask: np.ndarray | None) -> np.ndarray:
    """Points about `spacing` apart (a jittered hexagonal grid), inside `mask` if there is one."""
    rows = np.arange(-spacing, PATCH_SIZE + spacing, spacing * 0.87)
    columns = np.arange(-spacing, PATCH_SIZE + spacing, spacing, dtype=float)
    x, y = np.meshgrid(columns, rows)
    x[1::2] += spacing / 2
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    points += rng.uniform(0, spacing, 2) + rng.normal(0, spacing * 0.17, points.shape)
    if mask is not None:
        inside = np.clip(points.astype(int), 0, PATCH_SIZE - 1)
        points = points[mask[inside[:, 1], inside[:, 0]]]
    return points[rng.permutation(len(points))]


def draw_lymphocytes(canvas: Canvas, density: float, mask: np.ndarray | None) -> None:
    rng = canvas.rng
    points = scatter(rng, 7.6 / np.sqrt(density), mask)
    radius = rng.normal(3.3, 0.35, len(points)).clip(2.3, 4.5)
    stretch = rng.uniform(0.82, 1.0, len(points))
    turn, level = rng.uniform(0, 180, len(points)), rng.normal(112, 14, len(points)).clip(60, 170)
    for k, (x, y) in enumerate(points):
        canvas.ellipse(canvas.hematoxylin, x, y, radius[k], radius[k] * stretch[k], turn[k], level[k])


def draw_large_nuclei(
    canvas: Canvas, mask: np.ndarray, size: float, uneven: float, nucleoli: float, level: float
) -> None:
    """Vesicular nuclei: a dark membrane around pale chromatin, and now and then a nucleolus."""
    rng, image = canvas.rng, canvas.hematoxylin
    for x, y in scatter(rng, size * 2.35, mask):
        a = size * np.exp(rng.normal(0, uneven))
        b = a * rng.uniform(0.62, 1.0)
        turn, rim = rng.uniform(0, 180), level * np.exp(rng.normal(0, 0.1 + uneven / 2))
        canvas.ellipse(image, x, y, a, b, turn, min(rim, 180))
        canvas.ellipse(image, x, y, max(a - 1.1, 1), max(b - 1.1, 1), turn, min(rim * 0.62, 120))
        if rng.random() < nucleoli:
            dx, dy = rng.normal(0, a * 0.25, 2)
            radius = rng.uniform(0.9, 1.5)
            canvas.ellipse(image, x + dx, y + dy, radius, radius, 0, min(rim * 1.25, 200))


def draw_spindles(canvas: Canvas, mask: np.ndarray, turn: float) -> None:
    rng = canvas.rng
    for x, y in scatter(rng, 15.0, mask):
        a, b = rng.uniform(4.5, 8), rng.uniform(1.1, 1.9)
        canvas.ellipse(canvas.hematoxylin, x, y, a, b, turn + rng.normal(0, 14), rng.uniform(70, 120))


def draw_fat(canvas: Canvas) -> np.ndarray:
    """Round holes with thin walls; returns where they are."""
    rng = canvas.rng
    holes = np.zeros((PATCH_SIZE, PATCH_SIZE), np.uint8)
    for x, y in scatter(rng, rng.uniform(30, 52), None):
        radius = rng.uniform(13, 25)
        canvas.ellipse(holes, x, y, radius, radius * rng.uniform(0.8, 1), rng.uniform(0, 180), 255)
    return holes


def nest_mask(rng: np.random.Generator, fields: dict[str, np.ndarray], center: bool) -> np.ndarray:
    """Where a nest lies: over the center, or in the ring with a gap between."""
    wobble = 5 * window(fields, "coarse", rng) + 1.5 * window(fields, "medium", rng)
    grid_y, grid_x = np.mgrid[0:PATCH_SIZE, 0:PATCH_SIZE].astype(np.float32)
    if center:
        x, y = rng.uniform(CENTER[0] - 6, CENTER[1] + 6, 2)
        radius = rng.uniform(14, 60)
    else:
        angle, away = rng.uniform(0, 2 * np.pi), rng.uniform(46, 58)
        x, y = 48 + away * np.cos(angle), 48 + away * np.sin(angle)
        radius = rng.uniform(14, 30)
    mask = np.hypot(grid_x - x, grid_y - y) + wobble < radius
    if not center:
        gap = 9  # pixels: more than a nucleus reaches over the nest's edge
        mask[CENTER[0] - gap : CENTER[1] + gap, CENTER[0] - gap : CENTER[1] + gap] = False
    return np.asarray(mask)


def draw_tissue(
    canvas: Canvas, slide: Slide, fields: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The tissue that was there before the tumor; returns its eosin and where it has holes."""
    rng = canvas.rng
    everywhere = np.ones((PATCH_SIZE, PATCH_SIZE), bool)
    holes = np.zeros((PATCH_SIZE, PATCH_SIZE), np.uint8)
    eosin = 0.4 + 0.07 * window(fields, "coarse", rng)
    kind = rng.choice(4, p=slide.tissue)
    density = slide.density * np.exp(rng.normal(0, 0.25))
    if kind == 0:
        mask = window(fields, "coarse", rng) < rng.uniform(0.6, 2.5)
        draw_lymphocytes(canvas, density, mask)
    elif kind == 1:
        follicle = window(fields, "coarse", rng) < rng.uniform(-0.4, 1.5)
        draw_lymphocytes(canvas, density, ~follicle)
        draw_large_nuclei(canvas, follicle, rng.uniform(4.0, 5.6), 0.13, 0.25, rng.uniform(75, 105))
    elif kind == 2:
        turn = rng.uniform(0, 180)
        fiber = cv2.warpAffine(
            window(fields, "fiber", rng),
            cv2.getRotationMatrix2D((PATCH_SIZE / 2, PATCH_SIZE / 2), turn, 1.5),
            (PATCH_SIZE, PATCH_SIZE),
            borderMode=cv2.BORDER_REFLECT,
        )
        eosin = 0.62 + 0.17 * fiber + 0.06 * window(fields, "coarse", rng)
        draw_spindles(canvas, everywhere, -turn)
        if rng.random() < 0.5:
            draw_lymphocytes(canvas, density * 0.5, window(fields, "coarse", rng) > 0.8)
    else:
        draw_lymphocytes(canvas, density * 0.7, window(fields, "coarse", rng) > 0.3)
        holes = draw_fat(canvas)
        canvas.hematoxylin[holes > 0] = 0
    if rng.random() < 0.06:
        edge = window(fields, "coarse", rng) + 0.3 * window(fields, "medium", rng)
        bare = edge > rng.uniform(-0.5, 1.0)
        holes = np.maximum(holes, np.where(bare, 255, 0).astype(np.uint8))
        canvas.hematoxylin[bare] = 0
    return eosin.astype(np.float32), holes


def draw_nest(canvas: Canvas, mask: np.ndarray) -> None:
    """Clear the nest and fill it with tumor: large uneven nuclei in pale, plentiful cytoplasm."""
    rng = canvas.rng
    canvas.hematoxylin[mask] = 0
    grade = rng.random()  # how far it has gone from looking like a follicle
    draw_large_nuclei(
        canvas,
        mask,
        size=rng.uniform(4.6, 6.0) + 1.6 * grade,
        uneven=0.13 + 0.17 * grade,
        nucleoli=0.25 + 0.5 * grade,
        level=rng.uniform(75, 112),
    )
    draw_lymphocytes(canvas, 0.08, mask)


def stain(
    canvas: Canvas, eosin: np.ndarray, holes: np.ndarray, slide: Slide, fields: dict[str, np.ndarray]
) -> np.ndarray:
    """Turn concentrations into light, as the slide's stains, optics and camera would."""
    rng = canvas.rng
    chromatin = 1 + 0.16 * window(fields, "fine", rng)
    hematoxylin = canvas.hematoxylin * chromatin / 100 + 0.08
    meshwork = 1 + 0.3 * window(fields, "medium", rng) + 0.22 * window(fields, "fine", rng)
    eosin = np.where(canvas.hematoxylin > 40, eosin * 0.6, eosin * meshwork)
    amount = np.stack([hematoxylin, eosin], axis=-1).astype(np.float32)
    amount *= np.where(holes > 127, 0.03, 1.0)[..., None].astype(np.float32)
    blurred = cv2.GaussianBlur(amount, (0, 0), slide.blur)
    density = (blurred * slide.strength * np.exp(rng.normal(0, 0.06, 2))) @ slide.stains
    light = slide.white * np.power(10.0, -np.clip(density, 0, None))
    grain = np.stack([window(fields, "grain", rng) for _ in range(3)], axis=-1)
    return np.asarray(np.clip(np.rint(light + slide.noise * grain), 0, 255), np.uint8)


def render(slide: Slide, seed: int, split: int, index: int) -> Patch:
    """One patch, uint8 (96, 96, 3), and its label; the same for the same arguments."""
    rng = np.random.default_rng([seed, 2, split, index])
    fields = noise_fields(seed)
    canvas = Canvas(rng)
    eosin, holes = draw_tissue(canvas, slide, fields)
    chance, label = rng.random(), 0
    ring_only = 0.25 * (1 - slide.tumor) if slide.tumor > 0.1 else 0.02
    if chance < slide.tumor + ring_only:
        mask = nest_mask(rng, fields, center=chance < slide.tumor)
        label = int(mask[slice(*CENTER), slice(*CENTER)].any())
        draw_nest(canvas, mask)
        cytoplasm = rng.uniform(0.3, 0.55) + 0.05 * window(fields, "coarse", rng)
        eosin = np.where(mask, cytoplasm, eosin).astype(np.float32)
        holes = np.where(mask, 0, holes).astype(np.uint8)
    return stain(canvas, eosin, holes, slide, fields), label


def make_split(split: int, patches: int, slides: int, seed: int) -> tuple[list[Slide], list[int]]:
    """The slides of a split (named on from those of the split before), and each patch's slide."""
    rng = np.random.default_rng([seed, 3, split])
    made = [make_slide(f"{SPLITS[split]}_{k:03d}", rng) for k in range(slides)]
    share = rng.dirichlet(np.full(slides, 4.0))
    chosen = np.concatenate([np.arange(slides), rng.choice(slides, max(patches - slides, 0), p=share)])
    return made, [int(k) for k in rng.permutation(chosen[:patches])]


def split_of(split: int, patches: int, slides: int, seed: int) -> Split:
    """A split of the source: patches are rendered as they are read; labels need a render each."""
    made, which = make_split(split, patches, slides, seed)

    def read(start: int, stop: int) -> np.ndarray:
        return np.stack([render(made[which[k]], seed, split, k)[0] for k in range(start, stop)])

    labels = [render(made[which[k]], seed, split, k)[1] for k in range(patches)]
    ids = [f"{SPLITS[split]}_{k:07d}" for k in range(patches)]
    names: list[str | None] = [made[k].name for k in which]
    content = f"{KIND} 1 {patches} {slides} {seed}"
    return Split(SPLITS[split], ids, np.array(labels, np.int8), names, content, read)


def open_source(path: str) -> Source:
    """`synthetic:PATCHES[:SLIDES[:SEED]]`: that many training patches and a quarter for testing.

    Raises InputError if the numbers are not numbers or too large.
    """
    parts = path.split(":")[1:]
    if len(parts) > 3 or not all(part.isdigit() for part in parts):
        raise InputError(f"{path} is not of the form synthetic:PATCHES[:SLIDES[:SEED]].")
    patches = int(parts[0])
    slides = int(parts[1]) if len(parts) > 1 else default_slides(patches)
    seed = int(parts[2]) if len(parts) > 2 else 0
    check_size(patches, slides)
    train = split_of(0, patches, slides, seed)
    test = split_of(1, test_share(patches), test_share(slides), seed)
    return Source(KIND, path, PROTOCOL, {"train": train, "test": test})


def default_slides(patches: int) -> int:
    return max(patches // 100, 10)


def test_share(n: int) -> int:
    """How many test patches, or slides, go with `n` for training."""
    return max(n // 4, 1)


def check_size(patches: int, slides: int) -> None:
    if not 1 <= patches <= LARGEST or not 1 <= slides <= patches:
        raise InputError(
            f"{patches} patches from {slides} slides cannot be made: "
            f"1 to {LARGEST:,} patches, and at most as many slides as patches."
        )
