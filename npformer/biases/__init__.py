"""What is added to the scores of attention: arrays, and biases that need no array.

An array holds one number for every query and key, 8.6 GB for eight heads at 16,384 tokens. A
`Bias` gives one rectangle of it at a time, as a `npformer.masks.Mask` does, and where it has
numbers to be learned it takes their gradient back the same way.
"""

from ._bias import Bias, as_bias
from ._by_distance import alibi, alibi_slopes, buckets, check_buckets, relative

__all__ = ["alibi", "relative", "alibi_slopes", "buckets", "check_buckets", "as_bias", "Bias"]
