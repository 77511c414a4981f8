r"""A branch beside the stream: normalised before it (pre) or after the sum (post).

Forward, for a branch f (attention or feed-forward)
    pre   (1)  h = norm(x)          post  (1)  u = f(x)
          (2)  u = f(h)                   (2)  u = dropout(u)
          (3)  u = dropout(u)             (3)  s = x + u
          (4)  y = x + u                  (4)  y = norm(s)

Backward, given dy
    pre   (4') dx = dy, du = dy     post  (4') ds by the norm's backward
          (3') du by dropout's            (3') dx = ds, du = ds
          (2') dh by the branch's         (2') du by dropout's
          (1') dx += norm's of dh         (1') dx += the branch's of du

In pre, dy reaches x unchanged beside the branch, through any number of layers; in post it
passes through every norm on its way, which is why post needs a warm-up of the learning rate.

References
----------
Vaswani et al. (2017), section 3.1 (post); Xiong et al. (2020), "On Layer Normalization in the
Transformer Architecture", arXiv:2002.04745 (pre).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from numpy.typing import DTypeLike

from ..core.arrays import Array, check_choice, unbroadcast
from ..core.run import Run
from ..functional.dropout import DropoutSaved
from .dropout import Dropout
from .layer_norm import LayerNorm
from .rms_norm import RMSNorm

NORMS = ("layer", "rms")
NORM_POSITIONS = ("pre", "post")


class ResidualSaved(NamedTuple):
    """What `residual_backward` needs: what each of the three parts saved."""

    norm: Any
    branch: Any
    dropout: DropoutSaved


def residual(
    x: Array,
    branch: Callable[[Array], tuple[Array, Any]],
    norm: LayerNorm | RMSNorm,
    dropout: Dropout,
    norm_position: str,
    run: Run | None,
) -> tuple[Array, ResidualSaved]:
    """Add a branch to the stream; equations (1) to (4) of the module."""
    if norm_position == "pre":
        h, norm_saved = norm.forward(x)  # pre (1)
        u, branch_saved = branch(h)  # pre (2)
        u, dropout_saved = dropout.forward(u, run=run)  # pre (3)
        y = x + u  # pre (4)
    else:
        u, branch_saved = branch(x)  # post (1)
        u, dropout_saved = dropout.forward(u, run=run)  # post (2)
        y, norm_saved = norm.forward(x + u)  # post (3), (4)
    return y, ResidualSaved(norm_saved, branch_saved, dropout_saved)


def residual_backward(
    dy: Array,
    saved: ResidualSaved,
    branch_backward: Callable[[Array, Any], Any],
    norm: LayerNorm | RMSNorm,
    dropout: Dropout,
    norm_position: str,
) -> tuple[Array, Any]:
    """Undo `residual`; equations (4') to (1') of the module.

    Returns
    -------
    dx : ndarray
    dmemory : ndarray or None
        The branch's second gradient, if it returns two.
    """
    ds = dy if norm_position == "pre" else norm.backward(dy, saved.norm)  # post (4')
    # pre (3'), post (2')
    du = ds if saved.dropout.keep is None else dropout.backward(ds, saved.dropout)
    through = branch_backward(du, saved.branch)  # pre (2'), post (1')
    dh, dmemory = through if isinstance(through, tuple) else (through, None)
    dx = norm.backward(dh, saved.norm) if norm_position == "pre" else dh  # pre (1')
    # dx is the branch's or the norm's own fresh array. A memory may have leading axes that x
    # has not: then x was broadcast in the sum.
    dx += unbroadcast(ds, dx.shape)  # pre (4'), post (3')
    return dx, dmemory


def make_norm(
    norm: str, d_model: int, eps: float, bias: bool, dtype: DTypeLike
) -> LayerNorm | RMSNorm:
    """Build the kind of norm that a configuration names.

    Raises
    ------
    ValueError
        If `norm` is not "layer" or "rms".
    """
    check_choice("norm", "norm", norm, NORMS)
    if norm == "rms":
        return RMSNorm(d_model, eps, dtype=dtype)
    return LayerNorm(d_model, eps, bias, dtype=dtype)
