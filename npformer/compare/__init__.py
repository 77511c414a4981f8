"""Self-attention beside recurrent and convolutional networks: what ``npformer compare`` shows."""

from .measures import Reach, Recall, Times, exponent, measure_reach, measure_recall, measure_times
from .mixers import MIXERS, Mixer

__all__ = [
    "MIXERS",
    "Mixer",
    "Reach",
    "Recall",
    "Times",
    "exponent",
    "measure_reach",
    "measure_recall",
    "measure_times",
]
