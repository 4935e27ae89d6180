"""Data augmentation: flips, rotations and stain jitter."""

from __future__ import annotations

import numpy as np
import torch

from ..families.planes import RGB_FROM_HED

JITTER = 0.05  # maximum relative and absolute change of each stain
LEAST = 1 / 255  # minimum brightness, so that its logarithm is finite


def turned(patches: torch.Tensor, view: int) -> torch.Tensor:
    """One of the eight flips and rotations of patches (N, 3, H, H). 0 leaves them unchanged."""
    flipped = patches.flip(3) if view >= 4 else patches
    return torch.rot90(flipped, view % 4, (2, 3))


def at_random(patches: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Augment patches (N, 3, H, H) in [0, 1]: each in a random view and with random stain jitter."""
    views = rng.integers(0, 8, len(patches))
    out = torch.empty_like(patches)
    for view in np.unique(views):
        own = torch.from_numpy(np.flatnonzero(views == view)).to(patches.device)
        out[own] = turned(patches[own], int(view))
    return stained(out, rng)


def stained(patches: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Scale and shift hematoxylin, eosin and DAB of each patch by up to JITTER.

    Each stain s becomes s·(1 + a) + b, with uniform a and b. Source: D. Tellez et al.,
    "Whole-slide mitosis detection in H&E breast histology using PHH3 as a reference to train distilled
    stain-invariant convolutional networks", IEEE TMI 2018; stains by Ruifrok & Johnston.
    """
    a, b = rng.uniform(-JITTER, JITTER, (2, len(patches), 3)).astype(np.float32)
    to_density = torch.from_numpy(RGB_FROM_HED.astype(np.float32)).to(patches.device)
    scale, shift = (torch.from_numpy(one).to(patches.device) for one in (1 + a, b))
    # Scaling in stain space is one matrix per patch in the space of optical density.
    mix = torch.linalg.inv(to_density) @ (scale[:, :, None] * to_density)
    move = shift @ to_density
    density = -torch.log(patches.clamp(min=LEAST)).flatten(2)  # (N, 3, pixels)
    jittered = mix.transpose(1, 2) @ density + move[:, :, None]
    return torch.exp(-jittered).clamp(0, 1).reshape(patches.shape)
