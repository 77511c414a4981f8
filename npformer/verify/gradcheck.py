"""The entry point: check every gradient of a layer or of a pair of functions."""

import time
from collections.abc import Mapping
from typing import Any

from ..core.arrays import describe
from .check import Check
from .report import Entry, Finding, GradientReport
from .settings import Settings
from .target import Target


def gradcheck(
    target: Any,
    *inputs: Any,
    options: Mapping[str, Any] | None = None,
    run: Any = None,
    parameters: Any = None,
    method: str = "auto",
    mode: str = "auto",
    tolerance: float | None = None,
    directions: int = 3,
    max_entries: int = 2000,
    seed: int = 0,
    move: bool = True,
) -> GradientReport:
    """Compare hand-written gradients with derivatives of the forward pass.

    Every floating-point input and every trainable parameter is differentiated, under a random
    upstream gradient and away from initial values. Parameters, their gradients and generators
    are left as they were found, bit for bit; inputs are never handed out but as copies.

    Parameters
    ----------
    target : object or pair of callables
        Either an object with ``forward(*inputs) -> (y, saved)``, ``backward(dy, saved)`` and,
        if it has parameters, ``named_parameters()`` that yields names and objects with `value`
        and `grad`; or a pair of functions ``(forward, backward)``, of which backward returns
        the gradients of the floating-point arguments in order (None at others is fine).
    *inputs : ndarray or None
        Arguments of forward. float32 and float64 ones are differentiated.
    options : mapping of str to object, optional
        Keyword arguments of forward, such as ``{"mask": masks.causal()}``. Floating-point
        arrays among them are differentiated if backward returns a gradient for them, too.
        Generators among them are rewound before every evaluation.
    run : Run, optional
        Passed to forward, and to backward if that takes it, only when given. Its generator is
        rewound before every evaluation, so that dropout drops the same entries each time.
    parameters : object or mapping, optional
        Something with ``named_parameters()``, if it is not `target` itself: to check the loss
        of a model, ``gradcheck((model.loss, backward), ids, parameters=model)``. Or a dict of
        names and objects with `value` and `grad`.
    method : {"auto", "complex", "central"}, optional
        Complex step (exact, but forward has to be analytic), or central differences (with an
        estimate of their own error). ``"auto"`` takes the first where it can be trusted.
    mode : {"auto", "full", "fast"}, optional
        Every entry, or random directions through each tensor. ``"auto"`` is full up to
        `max_entries` scalars in all.
    tolerance : float, optional
        Relative error that is accepted on top of what rounding and method allow for. By
        default 1e-9 with the complex step, 1e-8 with central differences, 1e-4 in float32.
    directions : int, optional
        How many for each tensor in fast mode.
    max_entries : int, optional
        Up to how many scalars ``"auto"`` checks every one.
    seed : int, optional
        Of everything random in the check itself.
    move : bool, optional
        Whether parameters, and inputs whose entries are all equal, are moved away from their
        values: at an initial weight of 1 a forgotten factor is not seen.

    Returns
    -------
    GradientReport
        Its `ok` says whether all is well, ``str(report)`` is a table, and `assert_ok` raises.

    Raises
    ------
    TypeError, ValueError
        If an option, the target or an input is not of its kind. What forward and backward
        themselves raise at the given point is passed on.

    Examples
    --------
    >>> import numpy as np
    >>> def square(x):
    ...     return x * x, x
    >>> def square_backward(dy, x):
    ...     return 2.0 * dy * x
    >>> gradcheck((square, square_backward), np.array([1.0, -2.0, 3.0])).ok
    True
    """
    settings = Settings(method, mode, tolerance, directions, max_entries, seed, move)
    if options is not None and not isinstance(options, Mapping):
        raise TypeError(
            f"gradcheck: options is {describe(options)}; expected a dict of forward's keyword "
            f"arguments, such as {{'mask': mask}}"
        )
    view = Target(target, inputs, options or {}, run, parameters)
    if not view.slots():
        raise TypeError(
            "gradcheck: there is nothing to differentiate: no input is float32 or float64, and "
            "there are no trainable parameters; convert an input with .astype(np.float64)"
        )
    start = time.perf_counter()
    try:
        check = Check(view, settings)
        entries = check.run()
    finally:
        view.restore()
    return GradientReport(
        target=view.name,
        verdict=_verdict(entries, check.findings),
        entries=tuple(entries),
        findings=tuple(check.findings),
        probes=tuple(check.probes),
        notes=tuple(check.notes),
        mode=check.mode,
        seed=settings.seed,
        evaluations=view.evaluations,
        seconds=time.perf_counter() - start,
    )


def _verdict(entries: list[Entry], findings: list[Finding]) -> str:
    verdicts = {entry.verdict for entry in entries}
    if "fail" in verdicts or any(finding.failed for finding in findings):
        return "fail"
    if "inconclusive" in verdicts or any(finding.undecided for finding in findings):
        return "inconclusive"
    return "pass"
