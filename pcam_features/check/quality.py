"""Patches without tissue or of poor image quality.

DECISIONS.md records how many real patches exceed these thresholds.
"""

from __future__ import annotations

import numpy as np

from .look import Look

FLAT = 4.0  # standard deviation in gray levels; a patch below it shows glass or nothing
LIGHT = 128.0  # mean gray level that separates glass from nothing
MOSTLY_DARK = 0.5  # proportion of pixels
BLURRED, BLURRED_SHARE = 250.0, 0.25  # variance of the Laplacian, and its ratio to that of gray levels
INKED = 0.02  # proportion of pixels


def blank(look: Look) -> np.ndarray:
    """Which patches are uniformly light, bool (rows,)."""
    return look.there & (look.deviation < FLAT) & (look.gray >= LIGHT)


def black(look: Look) -> np.ndarray:
    """Which patches are uniformly or mostly dark, bool (rows,)."""
    flat = (look.deviation < FLAT) & (look.gray < LIGHT)
    return look.there & (flat | (look.dark > MOSTLY_DARK))


def out_of_focus(look: Look) -> np.ndarray:
    """Which patches show something, but nothing sharp, bool (rows,).

    The criterion is the variance of the Laplacian (J. L. Pech-Pacheco et al., "Diatom autofocusing in
    brightfield microscopy", 2000), also relative to the variance of gray levels, which is small in
    patches with little tissue.
    """
    share = look.sharpness / np.maximum(look.deviation**2, 1e-6)
    blurred = (look.sharpness < BLURRED) & (share < BLURRED_SHARE)
    chosen: np.ndarray = look.there & blurred & ~blank(look) & ~black(look)
    return chosen


def pen_marked(look: Look) -> np.ndarray:
    """Which patches have blue or green ink on them, bool (rows,). Red and black look like tissue."""
    return look.there & (look.ink >= INKED)
