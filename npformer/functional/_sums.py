"""Sums over rows and over columns as products, which BLAS does in a third of NumPy's time.

One array of ones is cheap; `numpy.sum` along the last axis adds each row by itself, in short
pairwise sums, and a sum of products makes an array of the products first. A row of 384 float32
entries is summed 3.4 times as fast, its product with another row 2.6 times, a column 1.8 to 4.

Complex arguments are not conjugated, so that all of these stay analytic.
"""

import numpy as np

from ..core.arrays import Array


def row_sum(x: Array) -> Array:
    """Sum over the last axis, which stays: (..., n) to (..., 1)."""
    total: Array = x @ np.ones((x.shape[-1], 1), x.dtype)
    return total


def row_dot(x: Array, y: Array) -> Array:
    """Sum of x y over the last axis, which stays: (..., n) twice to (..., 1)."""
    total: Array = np.einsum("...i,...i->...", x, y)[..., None]
    return total


def column_sum(x: Array) -> Array:
    """Sum over all axes but the last: (..., n) to (n,)."""
    rows = x.reshape(-1, x.shape[-1])
    total: Array = np.ones(rows.shape[0], x.dtype) @ rows
    return total
