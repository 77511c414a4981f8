r"""T5's relative position bias: a learned number for each head and group of distances.

Forward, for queries at the end of n_k keys; query i stands at i + o with o = n_k - n_q
    (1)  c_ij = bucket(j - (i + o))         which group the distance is in   (n_q, n_k)
    (2)  y_hij = W_{c_ij, h}                                                 (H, n_q, n_k)

Backward, given dy
    (2') dW_ch = sum of dy_hij over all i, j with c_ij = c: each number stands in many places
    (1') dc_ij = none: distances are integers

Attention does not need y whole: `bias` gives it tile by tile, and takes its gradient back.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from .. import biases
from ..core.arrays import Array, check_gradient, check_size
from ..core.initialize import normal
from ..core.layer import Layer
from ..core.run import Run
from ..masks import Span


class RelativePositionBiasSaved(NamedTuple):
    """What `RelativePositionBias.backward` needs."""

    bias: biases.Bias
    n_q: int
    n_k: int
    dtype: np.dtype[Any]


class RelativePositionBias(Layer):
    """Adds to each score what has been learned for its head and distance.

    Parameters
    ----------
    num_heads : int
    num_buckets : int, optional
        Number of groups of distances; see `npformer.biases.buckets`.
    max_distance : int, optional
        Distances from here on share a group.
    bidirectional : bool, optional
        Whether keys before and behind the query have groups of their own. False for a decoder.
    rng : numpy.random.Generator, optional
        Draws the table from N(0, 0.02²). None draws from fresh entropy.
    dtype : float32 or float64, optional

    Attributes
    ----------
    weight : Parameter (num_buckets, num_heads)

    Raises
    ------
    TypeError, ValueError
        If distances cannot be grouped so.

    Examples
    --------
    >>> from npformer.layers import MultiHeadAttention
    >>> attention, relative = MultiHeadAttention(8, num_heads=2), RelativePositionBias(2)
    >>> y = attention(np.ones((1, 5, 8), np.float32), bias=relative.bias())

    The same bias may be given to several layers, as T5 does: its gradient is the sum.

    References
    ----------
    Raffel et al. (2020), "Exploring the Limits of Transfer Learning with a Unified Text-to-Text
    Transformer", arXiv:1910.10683, section 2.1.
    """

    def __init__(
        self,
        num_heads: int,
        num_buckets: int = 32,
        max_distance: int = 128,
        bidirectional: bool = True,
        *,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        check_size("RelativePositionBias", num_heads=num_heads)
        biases.check_buckets("RelativePositionBias", num_buckets, bidirectional, max_distance)
        self.max_distance = max_distance
        self.bidirectional = bidirectional
        self.weight = normal((num_buckets, num_heads), 0.02, rng, dtype)

    def bias(self, positions: Array | None = None) -> biases.Bias:
        """Return what attention takes as `bias`; its gradient comes to `weight`.

        `positions` are those of the keys, as for `npformer.biases.relative`.
        """
        return biases.relative(
            self.weight.value,
            bidirectional=self.bidirectional,
            max_distance=self.max_distance,
            positions=positions,
            learn=self.weight.add_grad,
        )

    def forward(
        self, n_q: int, n_k: int | None = None, *, run: Run | None = None
    ) -> tuple[Array, RelativePositionBiasSaved]:
        """Form the whole bias, (num_heads, n_q, n_k); n_k is n_q if not given."""
        n_k = n_q if n_k is None else n_k
        check_size("RelativePositionBias", n_q=n_q, n_k=n_k)
        bias = self.bias()
        y = bias.over((self.weight.shape[1], n_q, n_k))  # (1), (2)
        return y, RelativePositionBiasSaved(bias, n_q, n_k, y.dtype)

    def backward(self, dy: Array, saved: RelativePositionBiasSaved, run: Run | None = None) -> None:
        """Add to the table's gradient, given dy (num_heads, n_q, n_k)."""
        bias, n_q, n_k, dtype = saved
        shape = (self.weight.shape[1], n_q, n_k)
        check_gradient("RelativePositionBias.backward", dy, shape, dtype)
        dweight = np.zeros_like(self.weight.grad)
        for head, dhead in enumerate(dy):
            rows, columns = Span(0, n_q, n_q), Span(0, n_k, n_k)
            bias.add_gradient(dweight, dhead, (head,), rows, columns)  # (2'), (1')
        self.weight.add_grad(dweight)
