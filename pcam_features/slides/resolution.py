"""Micrometers per pixel, from what files tell of their resolution."""

from __future__ import annotations

import math
import re

# Outside this range, a resolution is one for printing (72 per inch are 353 µm), not of a scanner.
LEAST_MPP, MOST_MPP = 0.05, 20.0
UNLIKE = 0.02  # relative difference of width and height from which a pixel is no square
PER_UNIT = {2: 25_400.0, 3: 10_000.0}  # micrometers in TIFF's units: inch, centimeter
APERIO = re.compile(r"\|\s*MPP\s*=\s*([0-9.]{1,20})")
OME = re.compile(r'PhysicalSize([XY])="([0-9.eE+-]{1,30})"')
OME_UNIT = re.compile(r'PhysicalSize[XY]Unit="(?!µm|&#181;m|um)')


def plausible(mpp: float | None) -> float | None:
    """A resolution, if it can be one of a scanner; else None.

    Examples
    --------
    >>> plausible(0.499), plausible(352.8), plausible(float("nan"))
    (0.499, None, None)
    """
    return mpp if mpp is not None and LEAST_MPP <= mpp <= MOST_MPP else None


def of_axes(x: float | None, y: float | None) -> float | None:
    """The resolution of both axes; None if either is unknown or pixels are no squares.

    Examples
    --------
    >>> of_axes(0.5, 0.5), of_axes(0.5, 0.25), of_axes(None, 0.5)
    (0.5, None, None)
    """
    x, y = plausible(x), plausible(y)
    if x is None or y is None or abs(x / y - 1) > UNLIKE:
        return None
    return (x + y) / 2


def number(text: object) -> float | None:
    """A finite number that a file states as text; None for anything else."""
    try:
        value = float(str(text))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def of_density(x: float, y: float, unit_um: float) -> float | None:
    """The resolution of so many pixels in each `unit_um` micrometers.

    Examples
    --------
    >>> of_density(20_000, 20_000, 10_000)
    0.5
    """
    return of_axes(unit_um / x, unit_um / y) if x > 0 and y > 0 else None


def of_description(text: str) -> float | None:
    """The resolution in the description of an Aperio or OME TIFF.

    Examples
    --------
    >>> of_description("Aperio Image Library v11|AppMag = 20|MPP = 0.4990|Left = 25")
    0.499
    >>> of_description('<Pixels PhysicalSizeX="0.25" PhysicalSizeY="0.25" SizeC="3"/>')
    0.25
    """
    if (aperio := APERIO.search(text)) is not None:
        return plausible(number(aperio[1]))
    axes = {axis: number(size) for axis, size in OME.findall(text[:100_000])}
    if OME_UNIT.search(text[:100_000]):  # not in micrometers, which are the default
        return None
    return of_axes(axes.get("X"), axes.get("Y"))
