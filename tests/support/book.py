"""What pages the book of derivations has: one for every module with numbered equations."""

from .tags import NUMBERED

STEMS = {  # pages that are not called as their module
    "functional/_tiles.py": "tiled_attention",
    "layers/linear_attention.py": "multi_head_linear_attention",
    "models/_inputs.py": "input_embedding",
}
PAGES = {STEMS.get(name, name.split("/")[1][:-3].lstrip("_")): name for name in NUMBERED}

# Pages that are still to be written. This set only shrinks, and ends empty.
DUE = {
    # linear maps and their kin
    "linear",
    "conv1d",
    "embedding",
    "dropout",
    # norms
    "rms_norm",
    "l2_normalize",
    # activations
    "relu",
    "sigmoid",
    "tanh",
    "gelu",
    "quick_gelu",
    "silu",
    "swiglu",
    # positions
    "sinusoidal",
    "rotary",
    "learned_positional_encoding",
    "relative_position_bias",
    # attention
    "tiled_attention",
    "linear_attention",
    "multi_head_linear_attention",
    "multi_head_attention",
    # losses
    "log_softmax",
    "cross_entropy",
    "linear_cross_entropy",
    "contrastive_loss",
    "ctc_loss",
}
