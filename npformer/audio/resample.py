r"""Resampling: the same sound with another number of samples a second.

What was sampled at rate r without loss has nothing at r/2 and above, and is known at every moment
t, in samples, from its samples alone:
    x(t) = sum_n x_n sinc(t - n),  sinc(t) = sin(pi t) / (pi t)
It is read off at the new moments, through a filter that lets pass what both rates can hold:
    (1)  y_m = sum_n x_n h(m r/r' - n)                  m = 0, 1, ..., below n r'/r
    (2)  h(t) = b sinc(b t) w(t / T)                    0 beyond T
    (3)  w(u) = I_0(beta sqrt(1 - u^2)) / I_0(beta)     Kaiser's window
With q = min(1, r'/r) the narrower of both bands is q/2, in periods a sample. The filter passes
what is below (1 - d) q/2, and stops what is beyond q/2, where it would come back as another
frequency (an alias). For A decibels of silence there, Kaiser's formulas give
    (4)  beta = 0.1102 (A - 8.7),  2 T = (A - 7.95) / (14.36 d q/2),  b = (1 - d/2) q
Here A = 80 and d = 1/10: about 100 samples of the slower rate for each new one.

With r'/r = l/k in lowest terms, m k/l - n has only l different fractions, so that l filters
are made, and each gives every l-th sample of y.

References
----------
Shannon (1949), "Communication in the Presence of Noise", Proceedings of the IRE 37, theorem 1.
Kaiser (1974), "Nonrecursive Digital Filter Design Using the I0-sinh Window Function", Proceedings
of the IEEE International Symposium on Circuits and Systems, for (3) and (4).
"""

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..core.arrays import Array, check_floats, check_size

ATTENUATION = 80.0  # A, in decibels
TRANSITION = 0.1  # d, of the narrower band


def resample(x: Array, rate: int, new_rate: int) -> Array:
    """Return a recording with another number of samples a second.

    Parameters
    ----------
    x : (..., n) float32 or float64 ndarray
        Beyond both ends it is taken to be silent.
    rate, new_rate : int
        Samples a second, of x and of the result.

    Returns
    -------
    y : (..., ceil(n new_rate / rate)) ndarray
        Of x's dtype. What is above 0.9 of the highest frequency that both rates can hold is
        lost. Loud sounds may come out a little above 1, where the peak lies between samples.

    Raises
    ------
    ValueError, TypeError
        If x is no array of floats, or a rate is no positive int.
    """
    check_floats("resample", x=x)
    check_size("resample", rate=rate, new_rate=new_rate)
    if x.ndim < 1:
        raise ValueError("resample: x is a number; expected samples (..., n)")
    if rate == new_rate:
        same: Array = x.copy()
        return same
    common = math.gcd(rate, new_rate)
    up, down = new_rate // common, rate // common  # l, k
    length = -(-x.shape[-1] * up // down)
    reach = int(_half_width(min(1.0, up / down))) + 1
    padding = [(0, 0)] * (x.ndim - 1) + [(reach, reach + 1)]
    padded = np.pad(x.astype(np.float64), padding)
    y = np.zeros((*x.shape[:-1], length))
    taps = np.arange(-reach, reach + 1)
    for phase in range(min(up, length)):
        first, rest = divmod(phase * down, up)  # sample `first`, and rest/l beyond it
        kernel = _kernel(rest / up - taps, min(1.0, up / down))
        # A window that begins at n has its middle at x_n.
        windows = sliding_window_view(padded[..., first:], len(taps), axis=-1)[..., ::down, :]
        count = -(-(length - phase) // up)
        y[..., phase::up] = windows[..., :count, :] @ kernel  # (1)
    resampled: Array = y.astype(x.dtype)
    return resampled


def _half_width(band: float) -> float:
    """Return T of equation (4) for a band q."""
    return (ATTENUATION - 7.95) / (14.36 * TRANSITION * band)


def _kernel(t: Array, band: float) -> Array:
    """Equations (2) to (4); the sum is made 1, so that a constant stays what it is."""
    beta = 0.1102 * (ATTENUATION - 8.7)
    width = (1 - TRANSITION / 2) * band
    inside = np.maximum(1 - (t / _half_width(band)) ** 2, 0)
    window = np.where(np.abs(t) < _half_width(band), np.i0(beta * np.sqrt(inside)), 0)
    h = np.sinc(width * t) * window
    kernel: Array = h / h.sum()
    return kernel
