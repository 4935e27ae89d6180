"""Synthetic H&E patches, for demonstrations and tests without real data.

Each slide has its own stain vectors, intensities, blur, noise and mix of tissue. A patch is drawn as
concentrations of hematoxylin and eosin, and its colors follow from the Beer-Lambert law. Lymphocytes
are small, round and dense. Stroma is fibers with spindle nuclei. Fat is round holes, and glass is
bare. Follicles are pale zones of larger but even nuclei, which resemble tumor. Tumor nests have large,
uneven, vesicular nuclei with nucleoli. A patch is positive only if a tumor nucleus reaches the center
32×32. So that the task is not too easy, follicles are as common as lymphoid tissue, and most negative
patches of slides with tumor have a nest in the ring alone.

The path of such a source is `synthetic:PATCHES[:SLIDES[:SEED]]`. `pcam synth` writes one to disk.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from ..constants import Kind
from ..errors import InputError
from ..geometry import CENTER, PATCH_SIZE
from ..words import counted
from .source import Source, Split

PROTOCOL = "Rendered by pcam, not tissue. Slides are independent; no slide is in two splits."
LARGEST = 1_000_000  # patches
FIELD = 512  # pixels of a noise field, of which patches use windows
STAINS = np.array([[0.60, 0.70, 0.38], [0.09, 0.90, 0.38]])  # usual hematoxylin, eosin in R, G, B
SUBPIXEL = 4  # bits of a pixel's fraction in drawing
ONE = 1 << SUBPIXEL
SPLITS = ("train", "test")
Patch = tuple[np.ndarray, int]


@dataclass(frozen=True)
class Slide:
    """Properties that the patches of one slide share."""

    name: str
    stains: np.ndarray  # (2, 3), optical density of hematoxylin and eosin in R, G, B
    strength: np.ndarray  # (2,), the strength of each stain
    white: np.ndarray  # (3,), the color of bare glass
    blur: float  # pixels
    noise: float  # levels
    density: float  # of lymphocytes, relative to the average
    tumor: float  # the fraction of patches with a nest in the center
    tissue: np.ndarray  # (4,), the fractions of lymphoid tissue, follicle, stroma and fat


@lru_cache(maxsize=4)
def noise_fields(seed: int) -> dict[str, np.ndarray]:
    """Smooth periodic random fields of unit deviation, and an elongated one for fibers."""
    rng = np.random.default_rng([seed, 1])

    def field(width: float, height: float) -> np.ndarray:
        white = np.tile(rng.standard_normal((FIELD, FIELD)).astype(np.float32), (3, 3))
        smooth = cv2.GaussianBlur(white, (0, 0), width, sigmaY=height)
        cut = smooth[FIELD : 2 * FIELD, FIELD : 2 * FIELD]
        cut = (cut - cut.mean()) / cut.std()
        return np.tile(cut, (2, 2))  # a window may start anywhere

    return {
        "fine": field(1.0, 1.0),
        "medium": field(3.0, 3.0),
        "coarse": field(12.0, 12.0),
        "fiber": field(14.0, 1.3),
        "grain": field(0.3, 0.3),
    }


def window(
    fields: dict[str, np.ndarray], name: str, rng: np.random.Generator, side: int = PATCH_SIZE
) -> np.ndarray:
    """A square of a noise field, at most `FIELD` pixels wide."""
    y, x = rng.integers(0, FIELD, 2)
    return fields[name][y : y + side, x : x + side]


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
        tissue=rng.dirichlet([5, 6, 2, 1]),
    )


def ellipse(
    image: np.ndarray, x: float, y: float, a: float, b: float, turn: float, level: float
) -> None:
    """Fill an ellipse with smooth edges; a level of 100 is one unit of concentration."""
    at, axes = (int(x * ONE), int(y * ONE)), (int(a * ONE), int(b * ONE))
    color = (int(level),)
    cv2.ellipse(image, at, axes, turn, 0, 360, color, cv2.FILLED, cv2.LINE_AA, SUBPIXEL)


def empty(side: int = PATCH_SIZE) -> np.ndarray:
    return np.zeros((side, side), np.uint8)


def scatter(
    rng: np.random.Generator, spacing: float, mask: np.ndarray | None, side: int = PATCH_SIZE
) -> np.ndarray:
    """Points about `spacing` apart (a jittered hexagonal grid), inside `mask` if it is given."""
    rows = np.arange(-spacing, side + spacing, spacing * 0.87)
    columns = np.arange(-spacing, side + spacing, spacing, dtype=float)
    x, y = np.meshgrid(columns, rows)
    x[1::2] += spacing / 2
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    points += rng.uniform(0, spacing, 2) + rng.normal(0, spacing * 0.17, points.shape)
    if mask is not None:
        inside = np.clip(points.astype(int), 0, side - 1)
        points = points[mask[inside[:, 1], inside[:, 0]]]
    return points[rng.permutation(len(points))]


def draw_lymphocytes(
    rng: np.random.Generator, image: np.ndarray, density: float, mask: np.ndarray | None
) -> None:
    points = scatter(rng, 7.6 / np.sqrt(density), mask, len(image))
    radius = rng.normal(3.3, 0.35, len(points)).clip(2.3, 4.5)
    stretch = rng.uniform(0.82, 1.0, len(points))
    turn, level = rng.uniform(0, 180, len(points)), rng.normal(112, 14, len(points)).clip(60, 170)
    for k, (x, y) in enumerate(points):
        ellipse(image, x, y, radius[k], radius[k] * stretch[k], turn[k], level[k])


def draw_large_nuclei(
    rng: np.random.Generator,
    image: np.ndarray,
    mask: np.ndarray,
    size: float,
    uneven: float,
    nucleoli: float,
    level: float,
) -> None:
    """Vesicular nuclei: a dark membrane around pale chromatin, and in some a nucleolus."""
    for x, y in scatter(rng, size * 2.35, mask, len(image)):
        a = size * np.exp(rng.normal(0, uneven))
        b = a * rng.uniform(0.62, 1.0)
        turn, rim = rng.uniform(0, 180), level * np.exp(rng.normal(0, 0.1 + uneven / 2))
        ellipse(image, x, y, a, b, turn, min(rim, 180))
        ellipse(image, x, y, max(a - 1.1, 1), max(b - 1.1, 1), turn, min(rim * 0.62, 120))
        if rng.random() < nucleoli:
            dx, dy = rng.normal(0, a * 0.25, 2)
            radius = rng.uniform(0.9, 1.5)
            ellipse(image, x + dx, y + dy, radius, radius, 0, min(rim * 1.25, 200))


def draw_spindles(rng: np.random.Generator, image: np.ndarray, mask: np.ndarray, turn: float) -> None:
    for x, y in scatter(rng, 15.0, mask, len(image)):
        a, b = rng.uniform(4.5, 8), rng.uniform(1.1, 1.9)
        ellipse(image, x, y, a, b, turn + rng.normal(0, 14), rng.uniform(70, 120))


def draw_fat(
    rng: np.random.Generator, side: int = PATCH_SIZE, mask: np.ndarray | None = None
) -> np.ndarray:
    """Round holes with thin walls; returns their mask."""
    holes = empty(side)
    for x, y in scatter(rng, rng.uniform(30, 52), mask, side):
        radius = rng.uniform(13, 25)
        ellipse(holes, x, y, radius, radius * rng.uniform(0.8, 1), rng.uniform(0, 180), 255)
    return holes


def nest_mask(rng: np.random.Generator, fields: dict[str, np.ndarray], center: bool) -> np.ndarray:
    """The mask of a nest: over the center, or in the ring with a gap to the center."""
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
        gap = 9  # pixels; nuclei extend less than that beyond the nest's edge
        mask[CENTER[0] - gap : CENTER[1] + gap, CENTER[0] - gap : CENTER[1] + gap] = False
    return np.asarray(mask)


def draw_tissue(
    rng: np.random.Generator, slide: Slide, fields: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The tissue before tumor is added: hematoxylin, eosin, and the mask of holes."""
    image = empty()
    everywhere = np.ones((PATCH_SIZE, PATCH_SIZE), bool)
    holes = empty()
    eosin = 0.4 + 0.07 * window(fields, "coarse", rng)
    kind = rng.choice(4, p=slide.tissue)
    density = slide.density * np.exp(rng.normal(0, 0.25))
    if kind == 0:
        mask = window(fields, "coarse", rng) < rng.uniform(0.6, 2.5)
        draw_lymphocytes(rng, image, density, mask)
    elif kind == 1:
        follicle = window(fields, "coarse", rng) < rng.uniform(-0.4, 1.5)
        draw_lymphocytes(rng, image, density, ~follicle)
        draw_large_nuclei(rng, image, follicle, rng.uniform(4.1, 5.9), 0.145, 0.3, rng.uniform(75, 108))
    elif kind == 2:
        turn = rng.uniform(0, 180)
        fiber = cv2.warpAffine(
            window(fields, "fiber", rng),
            cv2.getRotationMatrix2D((PATCH_SIZE / 2, PATCH_SIZE / 2), turn, 1.5),
            (PATCH_SIZE, PATCH_SIZE),
            borderMode=cv2.BORDER_REFLECT,
        )
        eosin = 0.62 + 0.17 * fiber + 0.06 * window(fields, "coarse", rng)
        draw_spindles(rng, image, everywhere, -turn)
        if rng.random() < 0.5:
            draw_lymphocytes(rng, image, density * 0.5, window(fields, "coarse", rng) > 0.8)
    else:
        draw_lymphocytes(rng, image, density * 0.7, window(fields, "coarse", rng) > 0.3)
        holes = draw_fat(rng)
        image[holes > 0] = 0
    if rng.random() < 0.06:
        edge = window(fields, "coarse", rng) + 0.3 * window(fields, "medium", rng)
        bare = edge > rng.uniform(-0.5, 1.0)
        holes = np.maximum(holes, np.where(bare, 255, 0).astype(np.uint8))
        image[bare] = 0
    return image, eosin.astype(np.float32), holes


def draw_nest(rng: np.random.Generator, image: np.ndarray, mask: np.ndarray) -> bool:
    """Replace the tissue in the nest by tumor: large uneven nuclei in pale, abundant cytoplasm.

    Returns whether a tumor nucleus reaches the center.
    """
    nuclei = draw_tumor(rng, image, mask, grade=rng.random())
    return bool(nuclei[slice(*CENTER), slice(*CENTER)].any())


def draw_tumor(
    rng: np.random.Generator, image: np.ndarray, mask: np.ndarray, grade: float
) -> np.ndarray:
    """Draw tumor in place of what is in the mask; returns its nuclei.

    A grade of 0 resembles a follicle, 1 is clearly tumor.
    """
    nuclei = empty(len(image))
    draw_large_nuclei(
        rng,
        nuclei,
        mask,
        size=rng.uniform(4.5, 6.0) + 1.5 * grade,
        uneven=0.14 + 0.16 * grade,
        nucleoli=0.27 + 0.45 * grade,
        level=rng.uniform(75, 112),
    )
    image[mask] = 0
    np.copyto(image, nuclei, where=nuclei > 0)
    draw_lymphocytes(rng, image, 0.08, mask)
    return nuclei


def stain(
    rng: np.random.Generator,
    image: np.ndarray,
    eosin: np.ndarray,
    holes: np.ndarray,
    slide: Slide,
    fields: dict[str, np.ndarray],
    jitter: float = 0.06,
) -> np.ndarray:
    """Colors from concentrations, with the stains, optics and camera of the slide.

    The strength of each stain varies from call to call by a relative deviation of `jitter`.
    """
    side = len(image)
    chromatin = 1 + 0.16 * window(fields, "fine", rng, side)
    hematoxylin = image * chromatin / 100 + 0.08
    meshwork = 1 + 0.3 * window(fields, "medium", rng, side) + 0.22 * window(fields, "fine", rng, side)
    eosin = np.where(image > 40, eosin * 0.6, eosin * meshwork)
    amount = np.stack([hematoxylin, eosin], axis=-1).astype(np.float32)
    amount *= np.where(holes > 127, 0.03, 1.0)[..., None].astype(np.float32)
    blurred = cv2.GaussianBlur(amount, (0, 0), slide.blur)
    density = (blurred * slide.strength * np.exp(rng.normal(0, jitter, 2))) @ slide.stains
    light = slide.white * np.power(10.0, -np.clip(density, 0, None))
    grain = np.stack([window(fields, "grain", rng, side) for _ in range(3)], axis=-1)
    return np.asarray(np.clip(np.rint(light + slide.noise * grain), 0, 255), np.uint8)


def render(slide: Slide, seed: int, split: int, index: int) -> Patch:
    """One patch, uint8 (96, 96, 3), and its label; the same for the same arguments."""
    rng = np.random.default_rng([seed, 2, split, index])
    fields = noise_fields(seed)
    image, eosin, holes = draw_tissue(rng, slide, fields)
    chance, label = rng.random(), 0
    ring_only = 0.7 * (1 - slide.tumor) if slide.tumor > 0.1 else 0.02
    if chance < slide.tumor + ring_only:
        mask = nest_mask(rng, fields, center=chance < slide.tumor)
        label = int(draw_nest(rng, image, mask))
        cytoplasm = rng.uniform(0.3, 0.55) + 0.05 * window(fields, "coarse", rng)
        eosin = np.where(mask, cytoplasm, eosin).astype(np.float32)
        holes = np.where(mask, 0, holes).astype(np.uint8)
    return stain(rng, image, eosin, holes, slide, fields), label


def make_split(split: int, patches: int, slides: int, seed: int) -> tuple[list[Slide], list[int]]:
    """The slides of a split, and the index of each patch's slide."""
    rng = np.random.default_rng([seed, 3, split])
    made = [make_slide(f"{SPLITS[split]}_{k:03d}", rng) for k in range(slides)]
    share = rng.dirichlet(np.full(slides, 4.0))
    chosen = np.concatenate([np.arange(slides), rng.choice(slides, max(patches - slides, 0), p=share)])
    return made, [int(k) for k in rng.permutation(chosen[:patches])]


def split_of(split: int, patches: int, slides: int, seed: int) -> Split:
    """A split of the source. Patches are rendered when read, and once before for their labels."""
    made, which = make_split(split, patches, slides, seed)

    def read(start: int, stop: int) -> np.ndarray:
        return np.stack([render(made[which[k]], seed, split, k)[0] for k in range(start, stop)])

    labels = [render(made[which[k]], seed, split, k)[1] for k in range(patches)]
    ids = [f"{SPLITS[split]}_{k:07d}" for k in range(patches)]
    names: list[str | None] = [made[k].name for k in which]
    content = f"{Kind.synthetic} 2 {patches} {slides} {seed}"
    return Split(SPLITS[split], ids, np.array(labels, np.int8), names, lambda *span: content, read)


def numbers_in(path: str) -> tuple[int, int, int]:
    """The numbers of training patches and slides, and the seed, in the path of a source.

    Raises InputError if they are invalid or too large.
    """
    parts = path.split(":")[1:]
    if not 1 <= len(parts) <= 3 or not all(re.fullmatch("[0-9]{1,9}", part) for part in parts):
        raise InputError(
            f"{path} is not of the form synthetic:PATCHES[:SLIDES[:SEED]], such as synthetic:2000:20."
        )
    patches = int(parts[0])
    slides = int(parts[1]) if len(parts) > 1 else default_slides(patches)
    seed = int(parts[2]) if len(parts) > 2 else 0
    check_size(patches, slides)
    return patches, slides, seed


def rows_of(path: str) -> dict[str, int]:
    """The number of patches of each split of a source, before any is rendered.

    Raises InputError as `open_source`.

    Examples
    --------
    >>> rows_of("synthetic:2000:20")
    {'train': 2000, 'test': 500}
    """
    patches, slides, _ = numbers_in(path)
    return dict(zip(SPLITS, (patches, test_share(patches, slides)[0]), strict=True))


def open_source(path: str) -> Source:
    """Open `synthetic:PATCHES[:SLIDES[:SEED]]`: training patches, and a quarter as many for testing.

    Raises InputError if the numbers are invalid or too large.
    """
    patches, slides, seed = numbers_in(path)
    train = split_of(0, patches, slides, seed)
    test = split_of(1, *test_share(patches, slides), seed)
    return Source(Kind.synthetic, path, PROTOCOL, {"train": train, "test": test})


def default_slides(patches: int) -> int:
    return max(patches // 100, 10)


def test_share(patches: int, slides: int) -> tuple[int, int]:
    """The numbers of test patches and test slides for these numbers of training ones."""
    rows = max(patches // 4, 1)
    return rows, min(max(slides // 2, 1), rows)


def check_size(patches: int, slides: int) -> None:
    if not 1 <= patches <= LARGEST or not 1 <= slides <= patches:
        raise InputError(
            f"{counted(patches, 'patch')} from {counted(slides, 'slide')} cannot be made; choose 1 "
            f"to {LARGEST:,} patches, "
            "and at most as many slides as patches."
        )
