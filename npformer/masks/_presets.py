"""The masks of sparse-attention papers by name, made of `_patterns`, each with what it costs.

Costs are for n queries and n keys: how many pairs attend, and how many tiles of b x b an
attention over tiles must visit, with N = ceil(n / b) tiles along each side.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..core.arrays import check_choice, check_flag
from ._mask import Mask
from ._patterns import (
    block_ends,
    blocks,
    from_zero,
    global_tokens,
    keys_of_block,
    positions_of,
    positive,
    random_blocks,
    same_block,
    sliding_window,
    strided,
)
from ._patterns import causal as causal_mask  # `causal` is an argument here


def longformer(
    window: int,
    global_positions: "int | Sequence[int] | NDArray[np.integer]" = (),
    causal: bool = False,
) -> Mask:
    """Longformer: a sliding window, and some positions that see and are seen by all.

    Parameters
    ----------
    window : int
        w of `sliding_window`: keys less than `window` away. The paper's w counts both sides,
        w/2 on each: pass w // 2 + 1, so 257 for its 512.
    global_positions : int, sequence of int, or integer ndarray
        As for `global_tokens`.
    causal : bool
        Keep only the keys up to the query's own position, as for language models.

    Raises
    ------
    TypeError, ValueError
        As `sliding_window` and `global_tokens`, and if `causal` is not a bool.

    References
    ----------
    Beltagy et al. (2020), "Longformer: The Long-Document Transformer", arXiv:2004.05150,
    section 3.1. Dilated windows are not offered.

    Notes
    -----
    Cost, with w = `window` up to n and g global positions:

    - pairs: n (2w - 1) - w (w - 1), plus at most 2gn; causal n w - w (w - 1) / 2, plus at
      most gn
    - tiles: with m = ceil((w - 1) / b) below N, N (2m + 1) - m (m + 1), plus at most 2GN where
      the global positions lie in G of the N tiles along a side; causal N (m + 1) - m (m + 1) / 2,
      plus at most GN

    Both are linear in n.
    """
    check_flag(
        "longformer",
        "causal",
        causal,
        ". Several global positions go into one list: global_positions=[0, 1]",
    )
    mask = sliding_window(
        positive("longformer", "window", window, "for the paper's w pass w // 2 + 1")
    )
    positions = positions_of("longformer", "global_positions", global_positions)
    if positions.size:
        mask = mask | global_tokens(positions)
    return mask & causal_mask() if causal else mask


def sparse_transformer(
    stride: int, kind: str = "strided", *, c: int | None = None, part: str = "both"
) -> Mask:
    """Sparse Transformer: the near keys, and far ones at regular distances; causal.

    In the paper's words, with l = `stride`:

    - strided: A^(1) = {max(0, i - l), ..., i}, and A^(2) = {j : (i - j) mod l = 0}
    - fixed: A^(1) = {j : floor(j / l) = floor(i / l)}, and A^(2) = {j : j mod l >= l - c}

    Parameters
    ----------
    stride : int
        l. The paper takes about sqrt(n). Its A^(1) has l keys before the query and the query's
        own, which is ``sliding_window(l + 1)``.
    kind : "strided" or "fixed"
        The first suits images and sound, the second text.
    c : int, optional
        Of the fixed kind: how many keys at the end of each block all later queries see. The
        paper takes 8, 16 or 32 for a stride of 128 or 256; if not given, 8 or, of short
        strides, all.
    part : "both", "first" or "second"
        The union (the paper's merged heads), or A^(1) or A^(2) alone, for heads or layers that
        take turns.

    Raises
    ------
    TypeError, ValueError
        If a number is not a positive int, `c` is more than `stride` or given to the strided
        kind, or `kind` or `part` is something else.

    References
    ----------
    Child et al. (2019), "Generating Long Sequences with Sparse Transformers",
    arXiv:1904.10509, sections 4.2, 4.3 and 5.2.

    Notes
    -----
    Cost of both parts:

    - strided, pairs: with m = floor((n - 1) / l) at least 1, n (l + m) - l (l + m (m + 1) - 1)
      / 2, which for l = sqrt(n) is about 1.5 n sqrt(n)
    - strided, tiles: all N (N + 1) / 2 of causal attention where l < 2b: no faster in tiles.
      Beyond, about (2b - 1) / l of them
    - fixed, pairs: with n = m l, m l (l + 1) / 2 + c l m (m - 1) / 2
    - fixed, tiles: all of causal attention where l - c < b. Beyond, about (b + c - 1) / l of
      them, and those of the blocks on the diagonal
    """
    stride = positive("sparse_transformer", "stride", stride, "the paper takes about sqrt(n)")
    check_choice("sparse_transformer", "kind", kind, ("strided", "fixed"))
    check_choice("sparse_transformer", "part", part, ("both", "first", "second"))
    if c is not None and kind == "fixed":
        c = keys_of_block("sparse_transformer", c, "stride", stride)
    if kind == "strided":
        if c is not None:
            raise ValueError(
                f"sparse_transformer: c is {c} but the strided kind has no c; leave it out, or "
                f'pass kind="fixed"'
            )
        first, second = sliding_window(stride + 1), strided(stride)
    else:
        first, second = same_block(stride), block_ends(stride, min(8, stride) if c is None else c)
    return causal_mask() & {"both": first | second, "first": first, "second": second}[part]


def big_bird(
    num_blocks: int,
    block_size: int = 64,
    num_random: int = 3,
    window_blocks: int = 3,
    num_global: int = 2,
    seed: int = 0,
) -> Mask:
    """Big Bird: blocks in a window, blocks at random, and the first blocks for all.

    The defaults are those of the paper's base models.

    Parameters
    ----------
    num_blocks : int
        The mask covers ``num_blocks * block_size`` positions; shorter sequences are all right.
    block_size : int
        Positions in a block.
    num_random : int
        Key blocks drawn for each block of queries, among those that it does not see anyway, or
        all of these where they are fewer.
    window_blocks : int
        The paper's w / b, an odd number: a block of queries sees the key blocks less than
        (window_blocks + 1) / 2 blocks away.
    num_global : int
        The paper's g / b: so many blocks, the first ones, see all and are seen by all (its
        "internal transformer construction").
    seed : int
        Of the random blocks. Give each layer another.

    Raises
    ------
    TypeError, ValueError
        If a number is not an int in its range.

    References
    ----------
    Zaheer et al. (2020), "Big Bird: Transformers for Longer Sequences", arXiv:2007.14062,
    section 2 and appendix D.

    Notes
    -----
    Cost, with N = `num_blocks`, r = `num_random`, w = `window_blocks`, g = `num_global`, tiles
    of b = `block_size` that begin where blocks begin:

    - tiles: at most N (w + r + 2g), linear in n. In larger tiles a random block that stands
      alone costs more than its pairs: 16 times as much in tiles of 4b x 4b
    - pairs: b^2 times as many
    """
    n = positive("big_bird", "num_blocks", num_blocks, "it is n / block_size, rounded up")
    window_blocks = positive("big_bird", "window_blocks", window_blocks, "the paper takes 3")
    num_global = from_zero("big_bird", "num_global", num_global)
    num_random = from_zero("big_bird", "num_random", num_random)
    block_size = positive("big_bird", "block_size", block_size, "the paper takes 64")
    seed = from_zero("big_bird", "seed", seed)
    if window_blocks % 2 == 0:
        raise ValueError(
            f"big_bird: window_blocks is {window_blocks}; expected an odd number, as many blocks "
            f"on either side of the query's own: {window_blocks - 1} or {window_blocks + 1}"
        )
    if num_global > n:
        raise ValueError(
            f"big_bird: num_global is {num_global} but there are num_blocks = {n} blocks; "
            f"expected 0 to {n}"
        )
    seen = sliding_window((window_blocks + 1) // 2) | global_tokens(range(num_global))
    pattern = seen.dense(n, n)
    pattern |= random_blocks(n, min(num_random, n), seed, exclude=pattern)
    return blocks(pattern, block_size)
