"""Generation: a model's own tokens, fed back to it: the best, drawn at random, or by beams."""

from .beam_search import Beams, beam_search
from .generate import generate
from .sampling import next_token_probabilities, next_tokens, penalise_repeats

__all__ = [
    "generate",
    "beam_search",
    "Beams",
    "next_tokens",
    "next_token_probabilities",
    "penalise_repeats",
]
