"""Stain: the patch's own stain vectors (Macenko) and stain concentrations.

The vectors H and E come from `families.stain_vectors`. They are estimated on the tissue of the whole
patch, so the columns of the center also depend on all of it. The concentrations h and e solve
OD = h H + e E by least squares for every pixel, including glass, and are clipped at -1 and 7. They are
rounded to 1/4096, for percentiles and `dense` to 1/256; residuals are rounded to 1/2048. OD is the
natural optical density throughout.

If the patch does not determine two vectors, `fallback` is 1, the vectors of Ruifrok & Johnston are
used, and the eigenvalue shares are 0. Columns named `relative_…` are divided by the 99th percentile of
that stain in the patch, or by 0.1 if that is larger. Macenko's normalization makes this percentile
equal across slides.

Columns are named `stain__<feature>__<region>[_<stain>]` and
`stain__<feature>__center_minus_ring[_<stain>]`; those of the vectors
`stain__<feature>__patch[_<stain>]`. In the formulas, l1 ≥ l2 ≥ l3 are the eigenvalues of the covariance
of the tissue's OD.

Sources: M. Macenko et al., "A method for normalizing histology slides for quantitative analysis",
IEEE ISBI 2009; A. C. Ruifrok and D. A. Johnston, "Quantification of histochemical staining by color
deconvolution", Anal. Quant. Cytol. Histol. 23, 2001.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np

from ..engine.kernel import Kernel, add, barrier, device, lane, lanes
from ..geometry import CENTER, PATCH_SIZE, REGIONS
from .family import Family, Feature
from .planes import scaled
from .stain_vectors import (
    ACROSS,
    ALONG,
    AXIS_BITS,
    N_BINS,
    N_FIXED,
    OD_BITS,
    REFERENCE,
    REGION_SUMS,
    SEPARATIONS,
    SHARES,
    SOLVE_BITS,
    VECTORS,
    density_table,
    find_stains,
    seek,
)
from .stain_vectors import N_ROWS as SUMMARY
from .vectors import angle_between

STAINS = ("hematoxylin", "eosin")
PERCENTILES = (5, 25, 50, 75, 95, 99)
LEAST_SCALE = 0.1  # OD
AMOUNT_BITS, LEVEL_BITS, RESIDUAL_BITS = 12, 8, 11  # fractional bits; levels are bins of amounts
PER_OD, LEVELS_PER_OD = 1 << AMOUNT_BITS, 1 << LEVEL_BITS
LOWEST, HIGHEST = -1, 7  # OD: concentrations are clipped here
LEVELS = (HIGHEST - LOWEST) * LEVELS_PER_OD + 1
ZERO = -LOWEST * LEVELS_PER_OD  # the bin of concentration 0
FIXED = max(
    N_BINS, 2 * len(STAINS) * LEVELS
)  # bins of angles, later replaced by bins of concentrations

VECTOR, MOMENTS = "Macenko et al. 2009", "numpy.linalg.lstsq, then numpy."
DARK = HIGHEST / LEAST_SCALE  # the largest relative concentration
FEATURES = (
    Feature("mean", "mean concentration", "OD", LOWEST, HIGHEST, "its value", MOMENTS + "mean"),
    Feature("deviation", "standard deviation of concentration", "OD", 0, 4, "0", MOMENTS + "std"),
    *(
        Feature(
            f"p{percent:02d}",
            f"percentile {percent} of concentration, linearly interpolated",
            "OD",
            LOWEST,
            HIGHEST,
            "its value",
            MOMENTS + "percentile",
        )
        for percent in PERCENTILES
    ),
    Feature(
        "relative_mean", "mean / patch's p99", "1", -DARK, DARK, "1 if above 0.1 OD", MOMENTS + "mean"
    ),
    Feature("relative_deviation", "deviation / patch's p99", "1", 0, DARK, "0", MOMENTS + "std"),
    *(
        Feature(
            f"relative_p{percent:02d}",
            f"p{percent:02d} / patch's p99",
            "1",
            -DARK,
            DARK,
            "1 if above 0.1 OD",
            MOMENTS + "percentile",
        )
        for percent in PERCENTILES[:-1]
    ),
    Feature(
        "dense",
        "share of pixels above half of the patch's p99",
        "share",
        0,
        1,
        "1 if above 0.05 OD",
        VECTOR,
    ),
    Feature("coverage", "share of pixels that are tissue", "share", 0, 1, "0 or 1", VECTOR),
    Feature("residual", "mean |OD - h H - e E|", "OD", 0, 10, "its value", "numpy.linalg.lstsq"),
    Feature(
        "correlation", "correlation of h and e; 0 if one is constant", "1", -1, 1, "0", "numpy.corrcoef"
    ),
    Feature(
        "balance",
        "h' / (h' + e') with h', e' the means of concentrations clipped at 0; 0.5 if both are 0",
        "share",
        0,
        1,
        "its share",
        "Ruifrok & Johnston 2001",
    ),
    Feature(
        "relative_balance",
        "the same, with each mean divided by the patch's p99 of the stain",
        "share",
        0,
        1,
        "its share",
        "Macenko et al. 2009",
    ),
    *(
        Feature(color, f"{color} component of the stain vector", "1", -1, 1, "Ruifrok's", VECTOR)
        for color in ("red", "green", "blue")
    ),
    Feature("tilt", "angle to Ruifrok's vector", "degrees", 0, 180, "0", "Ruifrok & Johnston 2001"),
    Feature("separation", "angle between the vectors", "degrees", *SEPARATIONS, "39.6", VECTOR),
    Feature("second_share", "l2 / (l1 + l2 + l3)", "share", 0, 0.5, "0", "numpy.linalg.eigh"),
    Feature("off_plane", "l3 / (l1 + l2 + l3)", "share", 0, 1 / 3, "0", "numpy.linalg.eigh"),
    Feature("fallback", "1 if Ruifrok's vectors are used", "0 or 1", 0, 1, "1", VECTOR),
)
NAMES = tuple(feature.name for feature in FEATURES)
N_PERCENTILES, N_STAINS, N_REGIONS = len(PERCENTILES), len(STAINS), len(REGIONS)
N_PLAIN = 2 + N_PERCENTILES  # statistics of a concentration; percentile 99 is the last
N_EACH = 2 * N_PLAIN  # these, the relative ones (all except the last), and `dense`
N_SHARED = 5  # statistics of both stains in a region: `coverage` to `relative_balance`
START, STOP = CENTER
CENTER_PIXELS = (STOP - START) ** 2

# Sums of a region, all integers: tissue pixels, products h e, residuals, and for each stain the
# amounts, their squares and their positive parts.
TISSUE, PRODUCTS, RESIDUALS, FIRST, SQUARES, POSITIVE, N_SUMS = 0, 1, 2, 3, 5, 7, 9


@device
def amount_of(product: Any) -> Any:
    """A concentration with AMOUNT_BITS fractional bits."""
    amount = np.int32(scaled(product, OD_BITS + SOLVE_BITS - AMOUNT_BITS))
    return min(max(amount, np.int32(LOWEST * PER_OD)), np.int32(HIGHEST * PER_OD))


@device
def level_of(amount: Any) -> Any:
    return np.int32(scaled(np.int32(amount), AMOUNT_BITS - LEVEL_BITS) + ZERO)


@device
def sum_row(amounts: Any, away: Any, left: int, right: int, sums: Any) -> None:
    """Add part of a row to a region's sums."""
    products, residuals = 0, 0
    for x in range(left, right):
        products += int(amounts[0][x]) * int(amounts[1][x])
        residuals += int(away[x])
    add(sums, PRODUCTS, float(products))
    add(sums, RESIDUALS, float(residuals))
    for stain in range(N_STAINS):
        amount = amounts[stain]
        first, squares, positive = 0, 0, 0
        for x in range(left, right):
            a = int(amount[x])
            first, squares, positive = first + a, squares + a * a, positive + max(a, 0)
        add(sums, FIRST + stain, float(first))
        add(sums, SQUARES + stain, float(squares))
        add(sums, POSITIVE + stain, float(positive))


@device
def count_concentrations(work: Any, fixed: Any, bins: Any, floats: Any) -> None:
    """Bins of the concentrations and sums of h e and residuals, for the patch and the center."""
    height, width = work.shape[1], work.shape[2]
    hr, hg, hb, er, eg, eb = fixed[0], fixed[1], fixed[2], fixed[3], fixed[4], fixed[5]
    nr, ng, nb = fixed[6], fixed[7], fixed[8]
    h_bins, e_bins = bins[:LEVELS], bins[2 * LEVELS : 3 * LEVELS]
    h_center, e_center = bins[LEVELS : 2 * LEVELS], bins[3 * LEVELS : 4 * LEVELS]
    for y in range(lane(), height, lanes()):
        red, green, blue = work[0, y], work[1, y], work[2, y]
        away, h, e = work[3, y], work[4, y], work[5, y]
        for x in range(width):
            r, g, b = np.int32(red[x]), np.int32(green[x]), np.int32(blue[x])
            h[x] = amount_of(np.int32(hr * r + hg * g + hb * b))
            e[x] = amount_of(np.int32(er * r + eg * g + eb * b))
            off = np.int32(abs(np.int32(nr * r + ng * g + nb * b)))
            away[x] = scaled(off, OD_BITS + AXIS_BITS - RESIDUAL_BITS)
        sum_row((h, e), away, 0, width, floats[REGION_SUMS])
        inside = START <= y < STOP
        if inside:
            sum_row((h, e), away, START, STOP, floats[REGION_SUMS + 1])
        for x in range(width):  # from here on, the rows hold bins
            h[x], e[x] = level_of(h[x]), level_of(e[x])
        for x in range(width):
            add(h_bins, h[x], 1)
            add(e_bins, e[x], 1)
        if inside:
            for x in range(START, STOP):
                add(h_center, h[x], 1)
                add(e_center, e[x], 1)


@device
def spread(sums: Any, stain: int, size: int) -> Any:
    """size² times the variance of the amounts, an integer."""
    first, squares = np.int64(sums[FIRST + stain]), np.int64(sums[SQUARES + stain])
    return float(size * squares - first * first)


@device
def describe(bins: Any, sums: Any, stain: int, size: int, out: Any) -> None:
    """The statistics of one stain in one region, without the relative ones."""
    out[0] = sums[FIRST + stain] / size / PER_OD
    out[1] = sqrt(spread(sums, stain, size)) / size / PER_OD
    level, below = 0, int(bins[0])
    for k in range(N_PERCENTILES):
        position = PERCENTILES[k] * (size - 1)
        level, below = seek(bins, position // 100, level, below)
        following, _ = seek(bins, position // 100 + 1, level, below)
        place = level + (following - level) * (position % 100) / 100
        out[2 + k] = (place - ZERO) / LEVELS_PER_OD


@device
def relate(bins: Any, size: int, top: Any, out: Any) -> None:
    """The statistics relative to `top`, and the share of pixels above half of it."""
    for k in range(N_PLAIN - 1):
        out[N_PLAIN + k] = out[k] / top
    above = 0
    for level in range(ZERO, LEVELS):
        if level - ZERO > top / 2 * LEVELS_PER_OD:
            above += int(bins[level])
    out[N_EACH - 1] = above / size


@device
def summarize(region: int, stain: int, pixels: int, bins: Any, floats: Any) -> None:
    size = pixels if region == 0 else CENTER_PIXELS if region == 1 else pixels - CENTER_PIXELS
    first = (2 * stain + region % 2) * LEVELS  # the ring's bins replace those of the patch
    here, row = bins[first : first + LEVELS], floats[SUMMARY + stain * N_REGIONS + region]
    describe(here, floats[REGION_SUMS + region], stain, size, row)
    top = max(floats[SUMMARY + stain * N_REGIONS, N_PLAIN - 1], LEAST_SCALE)
    relate(here, size, top, row)


@device
def share(one: Any, other: Any) -> Any:
    return one / (one + other) if one + other > 0 else 0.5


@device
def describe_both(region: int, pixels: int, floats: Any, out: Any) -> None:
    """The statistics of both stains together in one region."""
    size = pixels if region == 0 else CENTER_PIXELS if region == 1 else pixels - CENTER_PIXELS
    sums = floats[REGION_SUMS + region]
    h_spread, e_spread = spread(sums, 0, size), spread(sums, 1, size)
    h_top = max(floats[SUMMARY, N_PLAIN - 1], LEAST_SCALE)
    e_top = max(floats[SUMMARY + N_REGIONS, N_PLAIN - 1], LEAST_SCALE)
    out[0] = sums[TISSUE] / size
    out[1] = sums[RESIDUALS] / size / (1 << RESIDUAL_BITS)
    out[2] = 0.0
    if h_spread > 0 and e_spread > 0:
        together = size * np.int64(sums[PRODUCTS]) - np.int64(sums[FIRST]) * np.int64(sums[FIRST + 1])
        out[2] = float(together) / sqrt(h_spread) / sqrt(e_spread)
    out[3] = share(sums[POSITIVE], sums[POSITIVE + 1])
    out[4] = share(sums[POSITIVE] / h_top, sums[POSITIVE + 1] / e_top)


@device
def describe_vectors(floats: Any, reference: Any, out: Any) -> None:
    vectors, scratch = floats[VECTORS:], floats[ALONG]
    for stain in range(N_STAINS):
        for c in range(3):
            out[3 * stain + c] = vectors[stain, c]
            reference[c] = REFERENCE[stain][c]
        out[6 + stain] = angle_between(vectors[stain], reference, scratch)
    out[8] = angle_between(vectors[0], vectors[1], scratch)
    for k in range(3):
        out[9 + k] = floats[SHARES, k]


@device
def write(pixels: int, floats: Any, out: Any) -> None:
    blocks = N_STAINS * N_REGIONS
    for block in range(lane(), blocks, lanes()):
        for k in range(N_EACH):
            out[block * N_EACH + k] = floats[SUMMARY + block, k]
    shared = out[blocks * N_EACH :]
    for region in range(lane(), N_REGIONS, lanes()):
        first = region * N_SHARED
        describe_both(region, pixels, floats, shared[first : first + N_SHARED])
    barrier()
    if lane() == 0:
        differences = shared[N_REGIONS * N_SHARED :]
        for stain in range(N_STAINS):
            center, ring = out[(3 * stain + 1) * N_EACH :], out[(3 * stain + 2) * N_EACH :]
            differences[stain] = center[0] - ring[0]
            differences[2 + stain] = center[N_PLAIN] - ring[N_PLAIN]
        for k in range(2):
            differences[4 + k] = shared[N_SHARED + 3 + k] - shared[2 * N_SHARED + 3 + k]
        describe_vectors(floats, floats[ACROSS], differences[6:])
    barrier()


@device
def clear(bins: Any) -> None:
    for k in range(lane(), bins.shape[0], lanes()):
        bins[k] = 0


@device
def find_ring(bins: Any, sums: Any) -> None:
    """Compute the ring by subtracting the center from the patch."""
    for level in range(lane(), LEVELS, lanes()):
        bins[level] -= bins[LEVELS + level]
        bins[2 * LEVELS + level] -= bins[3 * LEVELS + level]
    for k in range(lane(), N_SUMS, lanes()):
        sums[2, k] = sums[0, k] - sums[1, k]


@device
def measure(planes: Any, table: Any, ints: Any, floats: Any, work: Any, out: Any) -> None:
    pixels = planes.shape[1] * planes.shape[2]
    bins, fixed = ints[:FIXED], ints[FIXED:]
    clear(bins)
    for k in range(lane(), floats.shape[1], lanes()):
        for row in range(REGION_SUMS + N_REGIONS):
            floats[row, k] = 0
    barrier()
    find_stains(planes, table, work, bins, fixed, floats)
    clear(bins)
    barrier()
    count_concentrations(work, fixed, bins, floats)
    barrier()
    for stain in range(lane(), N_STAINS, lanes()):
        summarize(0, stain, pixels, bins, floats)
    barrier()
    find_ring(bins, floats[REGION_SUMS:])
    barrier()
    for k in range(lane(), 2 * N_STAINS, lanes()):
        summarize(1 + k % 2, k // 2, pixels, bins, floats)
    barrier()
    write(pixels, floats, out)


EACH = tuple(f"relative_{name}" for name in NAMES[: N_PLAIN - 1])
EACH = (*NAMES[:N_PLAIN], *EACH, "dense")
SHARED = ("coverage", "residual", "correlation", "balance", "relative_balance")
COLUMNS = (
    *(f"stain__{name}__{region}_{stain}" for stain in STAINS for region in REGIONS for name in EACH),
    *(f"stain__{name}__{region}" for region in REGIONS for name in SHARED),
    *(f"stain__{name}__center_minus_ring_{s}" for name in ("mean", "relative_mean") for s in STAINS),
    *(f"stain__{name}__center_minus_ring" for name in ("balance", "relative_balance")),
    *(f"stain__{color}__patch_{stain}" for stain in STAINS for color in ("red", "green", "blue")),
    *(f"stain__tilt__patch_{stain}" for stain in STAINS),
    *(f"stain__{name}__patch" for name in ("separation", "second_share", "off_plane", "fallback")),
)

FAMILY = Family(
    version=1,
    columns=COLUMNS,
    features=FEATURES,
    kernel=Kernel(
        name="stain",
        measure=measure,
        shape=(len(COLUMNS),),
        dtype=np.float32,
        table=density_table(),
        ints=(FIXED + N_FIXED,),
        floats=(SUMMARY + N_STAINS * N_REGIONS, N_EACH),
        work=(6, PATCH_SIZE, PATCH_SIZE),
        work_dtype=np.int16,
    ),
)
