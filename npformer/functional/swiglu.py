r"""SwiGLU: one half of a feed-forward layer opens and closes the other.

Forward, entry by entry
    (1)  g = silu(a)                        the gate (silu.py)
    (2)  y = g b

Backward, given dy
    (2') y is a product:  dg = dy b,  db = dy g
    (1') da = dg silu'(a), and by silu.py  silu'(a) = s + g (1 - s)  with s the sigmoid of a

Saved: b, g and what silu saves. a and b are the outputs of two linear maps of the same input.
"""

from typing import NamedTuple

from ..core.arrays import Array, check_floats, check_gradient
from .silu import SiluSaved, silu, silu_backward


class SwigluSaved(NamedTuple):
    """What `swiglu_backward` needs."""

    silu: SiluSaved
    g: Array  # (...)  the gate's opening
    b: Array  # (...)  the caller's own array


def swiglu(a: Array, b: Array) -> tuple[Array, SwigluSaved]:
    """Multiply `b` by ``silu(a)``.

    Parameters
    ----------
    a, b : ndarrays of one shape
        The gate and what it lets through.

    Returns
    -------
    y : ndarray of that shape
    saved : SwigluSaved
        For `swiglu_backward`.

    Raises
    ------
    ValueError
        If the shapes differ: nothing is broadcast.
    TypeError
        If the dtypes are not float32, float64 or complex128, or do not mix.

    References
    ----------
    Shazeer (2020), "GLU Variants Improve Transformer", arXiv:2002.05202, equation 5.
    """
    check_floats("swiglu", a=a, b=b)
    if a.shape != b.shape:
        raise ValueError(f"swiglu: a {a.shape} and b {b.shape} differ; expected one shape")
    g, saved = silu(a)  # (1)
    return g * b, SwigluSaved(saved, g, b)  # (2)


def swiglu_backward(dy: Array, saved: SwigluSaved) -> tuple[Array, Array]:
    """Gradients of `a` and `b`; equations (2') and (1') of the module.

    Parameters
    ----------
    dy : ndarray of y's shape
        Gradient of the loss with respect to `y`.
    saved : SwigluSaved
        As returned by `swiglu`.

    Returns
    -------
    da, db : ndarrays of that shape

    Raises
    ------
    ValueError, TypeError
        If `dy` does not have the shape and precision of `y`.
    """
    check_gradient("swiglu_backward", dy, saved.b.shape, saved.b)
    db = dy * saved.g  # (2')
    da = silu_backward(dy * saved.b, saved.silu)  # (2'), (1')
    return da, db
