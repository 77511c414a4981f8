"""Generation: a model's own tokens, chosen greedily or at random, fed back to it."""

from .generate import generate
from .sampling import next_token_probabilities, next_tokens

__all__ = ["generate", "next_tokens", "next_token_probabilities"]
