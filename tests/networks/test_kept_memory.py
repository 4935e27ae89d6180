"""Freed memory stays with the process while a network works, and is returned afterwards."""

from __future__ import annotations

import resource
import sys

import numpy as np
import pytest

from pcam_features.networks import memory

BLOCK = 40 << 20  # bytes, more than glibc ever keeps by itself


def faults(rounds: int = 8) -> int:
    """How many pages are made for blocks that are filled and freed in turn."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        np.ones(BLOCK, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(sys.platform != "linux" or memory.glibc() is None, reason="needs glibc")
def test_mechanics_pages_are_made_once_and_given_back() -> None:
    usual = faults()
    with memory.memory_kept():
        faults(1)
        kept = faults()
    assert kept < usual / 4
    assert faults() > usual / 4


def test_mechanics_another_library_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "glibc", lambda: None)
    with memory.memory_kept():
        assert np.ones(BLOCK, np.uint8).all()
