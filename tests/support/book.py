"""What pages the book of derivations has: one for every module with numbered equations."""

from .tags import NUMBERED

STEMS = {  # pages that are not called as their module
    "functional/_tiles.py": "tiled_attention",
    "layers/linear_attention.py": "multi_head_linear_attention",
    "models/_inputs.py": "input_embedding",
}
PAGES = {STEMS.get(name, name.split("/")[1][:-3].lstrip("_")): name for name in NUMBERED}
