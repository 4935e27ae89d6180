"""Vectors and symmetric 3×3 matrices in double precision, processed by one lane."""

from __future__ import annotations

from math import atan2, degrees, floor, sqrt
from typing import Any

from ..engine.kernel import device


@device
def dot(u: Any, v: Any) -> Any:
    return u[0] * v[0] + u[1] * v[1] + u[2] * v[2]


@device
def cross(u: Any, v: Any, out: Any) -> None:
    out[0] = u[1] * v[2] - u[2] * v[1]
    out[1] = u[2] * v[0] - u[0] * v[2]
    out[2] = u[0] * v[1] - u[1] * v[0]


@device
def normalize(v: Any) -> None:
    length = sqrt(dot(v, v))
    for k in range(3):
        v[k] /= length


@device
def angle_between(u: Any, v: Any, scratch: Any) -> Any:
    """The angle between two vectors in degrees. Small angles are accurate, unlike by arc cosine."""
    cross(u, v, scratch)
    return degrees(atan2(sqrt(dot(scratch, scratch)), dot(u, v)))


@device
def to_fixed(v: Any, bits: int, out: Any) -> None:
    """Convert a vector to fixed point with `bits` fractional bits."""
    for k in range(3):
        out[k] = floor(v[k] * (1 << bits) + 0.5)


@device
def diagonalize(m: Any, v: Any) -> None:
    """Diagonalize a symmetric matrix by Jacobi's method.

    The diagonal of `m` becomes the eigenvalues; the columns of `v` are the eigenvectors.
    """
    trace = m[0, 0] + m[1, 1] + m[2, 2]
    for i in range(3):
        for j in range(3):
            v[i, j] = 1.0 if i == j else 0.0
    for step in range(30):
        p = 1 if step % 3 == 2 else 0
        q = 1 if step % 3 == 0 else 2
        off = m[p, q]
        if abs(off) <= 1e-18 * trace:
            continue
        away = (m[q, q] - m[p, p]) / (2 * off)
        tangent = (1.0 if away >= 0 else -1.0) / (abs(away) + sqrt(away * away + 1))
        c = 1 / sqrt(tangent * tangent + 1)
        s = tangent * c
        for k in range(3):
            left, right = m[k, p], m[k, q]
            m[k, p], m[k, q] = c * left - s * right, s * left + c * right
        for k in range(3):
            left, right = m[p, k], m[q, k]
            m[p, k], m[q, k] = c * left - s * right, s * left + c * right
            left, right = v[k, p], v[k, q]
            v[k, p], v[k, q] = c * left - s * right, s * left + c * right
        m[p, q] = m[q, p] = 0.0
