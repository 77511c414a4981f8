"""Audio: from a recording to what a model hears. Nothing here is learnt or differentiated."""

from .log_mel import RATE, log_mel
from .resample import resample
from .wav import Recording, read_wav

__all__ = ["Recording", "read_wav", "resample", "log_mel", "RATE"]
