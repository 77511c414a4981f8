"""Generation: a model's own tokens, fed back to it: the best, drawn at random, or by beams."""

from .beam_search import Beams, beam_search
from .ctc import ctc_greedy
from .generate import generate
from .sampling import next_token_probabilities, next_tokens, penalise_repeats

__all__ = [
    "generate",
    "beam_search",
    "Beams",
    "ctc_greedy",
    "next_tokens",
    "next_token_probabilities",
    "penalise_repeats",
]
