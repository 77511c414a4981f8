r"""The length of all gradients together, and how to shorten it.

With g the gradients of all parameters, as one long vector
    (1)  norm = sqrt(sum_i g_i^2)
    (2)  g_i  = g_i max_norm / norm         if norm > max_norm

The direction stays, and so does the ratio between parameters.

The square of a float32 overflows from 1.8e19 on and is 0 below 1e-23. So where the norm is not
an ordinary number, (1) squares and sums in float64, piece by piece; and where float64 itself is
too small, entries are divided by the largest first.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from ..core.arrays import Array
from ..core.errors import NonFiniteError
from ..core.parameter import Parameter
from .optimizer import check_parameters, factors_of, pieces, real, spread


def clip_grad_norm(parameters: Iterable[Parameter], max_norm: float) -> float:
    """Scale all gradients, in place, so that their common L2 norm is at most `max_norm`.

    Parameters
    ----------
    parameters : iterable of Parameter
        Usually ``model.parameters()``; one that is given twice counts once.
    max_norm : float
        Positive.

    Returns
    -------
    float
        The norm before clipping.

    Raises
    ------
    NonFiniteError
        If the norm is infinite or NaN: with the parameter that has most such entries. No
        gradient is changed.
    ValueError
        If there are no parameters, or `max_norm` is not a positive finite number.
    TypeError
        If something is not a Parameter, or not a number.

    References
    ----------
    Pascanu, Mikolov and Bengio (2013), "On the difficulty of training recurrent neural
    networks", arXiv:1211.5063, algorithm 1.
    """
    limit = real("clip_grad_norm", "max_norm", max_norm, positive=True)
    given = check_parameters("clip_grad_norm", parameters)
    norm = grad_norm([(p.name or f"number {i}", p) for i, p in enumerate(given)])
    scale_grads(given, norm, limit)
    return norm


def grad_norm(named: Sequence[tuple[str, Parameter]]) -> float:
    """Return the L2 norm of all gradients together; equation (1) of the module.

    Parameters
    ----------
    named : sequence of (str, Parameter)
        The names are for the message.

    Returns
    -------
    float

    Raises
    ------
    NonFiniteError
        If it is infinite or NaN.
    """
    grads = [parameter.grad for _, parameter in named]
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        total = _quick_square_sum(grads)  # (1)
        if 1e-20 < total < 1e30:  # no square that counts was lost or overflowed
            return math.sqrt(total)
        total = sum(_square_sum(grad, 1.0) for grad in grads)  # (1)
        if 1e-280 < total < math.inf:
            return math.sqrt(total)
        largest = math.nan
        if not math.isnan(total):
            largest = max(float(np.max(np.abs(grad), initial=0.0)) for grad in grads)
        if largest == 0.0:
            return 0.0
        if math.isfinite(largest):  # the squares left float64's range, the entries did not
            norm = largest * math.sqrt(sum(_square_sum(grad, largest) for grad in grads))
            if math.isfinite(norm):
                return norm
    bad = [int(np.count_nonzero(~np.isfinite(grad))) for grad in grads]
    worst = max(range(len(bad)), key=lambda i: (bad[i], float(np.max(np.abs(grads[i]), initial=0))))
    name, parameter = named[worst]
    what = (
        f"{bad[worst]} of {parameter.grad.size} entries are infinite or NaN"
        if bad[worst]
        else f"its largest entry is {float(np.max(np.abs(parameter.grad))):.3g}"
    )
    raise NonFiniteError(
        f"the norm of the gradients is not finite; worst is parameter {name} {parameter.shape}, "
        f"where {what}"
    )


def scale_grads(parameters: Iterable[Parameter], norm: float, max_norm: float) -> None:
    """Bring gradients whose common norm is `norm` down to `max_norm`; equation (2)."""
    if norm <= max_norm:
        return
    factors = factors_of(max_norm / norm)
    for parameter in parameters:
        for factor in factors:
            parameter.grad *= factor  # (2)


def _quick_square_sum(grads: list[Array]) -> float:
    """Sum of all squares: of a few hundred in their own dtype, of these sums in float64.

    Not by `np.dot`: BLAS would split a long one among threads, and sum in another order.
    """

    def square_sum(part: list[Array]) -> float:
        return sum(_rows_square_sum(piece) for piece in part)

    flat = [piece.reshape(-1) for grad in grads for (piece,) in pieces(grad)]
    return sum(spread(square_sum, flat, sum(grad.size for grad in grads)))


def _rows_square_sum(x: Array) -> float:
    even = x.size // 512 * 512
    rows, rest = x[:even].reshape(-1, 512), x[even:]
    sums = np.einsum("ij,ij->i", rows, rows)
    return float(np.sum(sums, dtype=np.float64)) + float(np.einsum("i,i->", rest, rest))


def _square_sum(grad: Array, divisor: float) -> float:
    """Sum of the squares of ``grad / divisor``, in float64."""
    total = 0.0
    for (piece,) in pieces(grad):
        wide = piece.astype(np.float64)
        if divisor != 1.0:
            wide /= divisor
        total += float(np.sum(np.square(wide, out=wide)))
    return total
