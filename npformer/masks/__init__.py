"""Who may attend to whom: boolean arrays (True = may), and masks that need no array.

A mask answers three questions. `Mask.dense` forms the whole boolean array, to look at and for
textbook attention. `Mask.tile` speaks of one rectangle of it at a time, and can say EMPTY or
FULL without forming it, which is what lets an attention over tiles skip work.
`Mask.coverage` says the same of a whole row of tiles at once: NONE, SOME or ALL.
`Mask.picture` draws the mask in a terminal.

Masks join with ``&``, ``|`` and ``~``, with each other and with boolean arrays, in any order::

    mask = masks.causal() & masks.padding(lengths)
    mask = (masks.sliding_window(257) | masks.global_tokens([0])) & masks.padding(lengths)

Rows are queries and columns are keys. Where there are more keys than queries the last query
stands at the last key: query i has the position i + o among the keys, with o = n_k - n_q.
"""

from ._mask import (
    ALL,
    EMPTY,
    FULL,
    NONE,
    SOME,
    Codes,
    Coverage,
    Lead,
    Mask,
    Span,
    Tile,
    as_mask,
    split_heads,
)
from ._patterns import (
    block_ends,
    blocks,
    causal,
    global_tokens,
    padding,
    random_blocks,
    same_block,
    sliding_window,
    strided,
)
from ._presets import big_bird, longformer, sparse_transformer

__all__ = [
    "causal",
    "padding",
    "sliding_window",
    "strided",
    "global_tokens",
    "same_block",
    "block_ends",
    "blocks",
    "random_blocks",
    "longformer",
    "sparse_transformer",
    "big_bird",
    "as_mask",
    "split_heads",
    "Mask",
    "Span",
    "Lead",
    "Coverage",
    "EMPTY",
    "FULL",
    "Tile",
    "NONE",
    "SOME",
    "ALL",
    "Codes",
]
