"""Hypothesis strategies, named by the shape that they draw."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

seeds = st.integers(0, 2**32 - 1)
sides = st.integers(1, 5)
scores = st.floats(-30, 30)  # far apart enough to saturate, near enough to differentiate


def leads(max_dims=2):
    """Leading axes: none to `max_dims`, each 1 to 3 long."""
    return hnp.array_shapes(min_dims=0, max_dims=max_dims, max_side=3)


def floats(shape, elements=scores):
    """A float64 array of `shape`, which may be a strategy."""
    return hnp.arrays(np.float64, shape, elements=elements)


@st.composite
def vectors(draw, min_side=1, max_side=6, elements=scores):
    """(..., n)."""
    shape = (*draw(leads()), draw(st.integers(min_side, max_side)))
    return draw(floats(shape, elements))


def normal(seed, *shape):
    """A standard normal float64 array; a seed shrinks better than its thousand entries."""
    return np.random.default_rng(seed).standard_normal(shape)
