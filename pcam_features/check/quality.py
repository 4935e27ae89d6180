"""Patches that show no tissue, or show it badly. What the bounds let through and catch on real patches
is in DECISIONS.md."""

from __future__ import annotations

import numpy as np

from .look import Look

FLAT = 4.0  # gray levels of deviation: less is glass, or nothing at all
LIGHT = 128.0  # gray level between glass and nothing
MOSTLY_DARK = 0.5  # share of pixels
BLURRED, BLURRED_SHARE = 250.0, 0.25  # the Laplacian's variance, and its share of the gray levels'
INKED = 0.02  # share of pixels


def blank(look: Look) -> np.ndarray:
    """Which patches are one light level all over (rows,)."""
    return look.there & (look.deviation < FLAT) & (look.gray >= LIGHT)


def black(look: Look) -> np.ndarray:
    """Which patches are one dark level all over, or dark for the greater part (rows,)."""
    flat = (look.deviation < FLAT) & (look.gray < LIGHT)
    return look.there & (flat | (look.dark > MOSTLY_DARK))


def out_of_focus(look: Look) -> np.ndarray:
    """Which patches show something, but nothing sharp (rows,).

    The variance of the Laplacian: J. L. Pech-Pacheco et al., "Diatom autofocusing in brightfield
    microscopy", 2000; and beside the variance of the gray levels, which is small where there is little.
    """
    share = look.sharpness / np.maximum(look.deviation**2, 1e-6)
    blurred = (look.sharpness < BLURRED) & (share < BLURRED_SHARE)
    found: np.ndarray = look.there & blurred & ~blank(look) & ~black(look)
    return found


def pen_marked(look: Look) -> np.ndarray:
    """Which patches have blue or green ink on them (rows,); red and black look like what they cover."""
    return look.there & (look.ink >= INKED)
