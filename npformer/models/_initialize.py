"""How a model's weights are drawn: by one rule for all, after its layers are built."""

import math
from collections.abc import Mapping

import numpy as np

from ..core.initialize import draw_normal
from ..core.layer import Layer

RESIDUAL = ("out_proj.weight", "down.weight")  # what a branch adds to the stream


def initialize_weights(
    model: Layer,
    num_layers: int,
    rng: np.random.Generator | None,
    other: Mapping[str, int] | None = None,
) -> None:
    """Draw every matrix from N(0, 0.02²), residual projections from N(0, 0.02² / 2L).

    A stack of L blocks adds 2 L branches to its stream; scaled so, their sum keeps its variance
    whatever the depth. Convolutions are drawn from N(0, 2 / n) for n inputs to each sum, which
    keeps the size of what they hear where half of it passes: no norm makes up for it before
    sinusoids of size 1 are added, which would drown it. Biases stay 0, the scales of norms 1, and
    what is frozen as it is.

    Parameters
    ----------
    model : Layer
    num_layers : int
        L.
    rng : numpy.random.Generator or None
        None draws from fresh entropy.
    other : mapping of str to int, optional
        L of what is named so in the model, where it is another.

    References
    ----------
    Radford et al. (2019), "Language Models are Unsupervised Multitask Learners" (GPT-2),
    section 2.3. He et al. (2015), "Delving Deep into Rectifiers", arXiv:1502.01852, equation 10,
    for convolutions.
    """
    rng = np.random.default_rng(rng)
    for name, parameter in model.named_parameters():
        if parameter.trainable and parameter.value.ndim >= 2:
            layers = (other or {}).get(name.partition(".")[0], num_layers)
            std = 0.02 / math.sqrt(2 * layers) if name.endswith(RESIDUAL) else 0.02
            if parameter.value.ndim == 3:  # (channels_out, channels_in, kernel)
                std = math.sqrt(2 / parameter.value[0].size)
            draw_normal(parameter, std, rng)
