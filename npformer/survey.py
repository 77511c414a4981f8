"""A gradient check of everything, one row each: what ``npformer check`` prints.

Without names it checks every example of the catalogue. A name is a subject of the catalogue
(``attention``, ``EncoderLayer``), or ``module:object`` for code of your own, where the object is
an `npformer.catalogue.Example`, several of them, or a function that returns either.
"""

import difflib
import importlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from .catalogue import Example, examples
from .verify import GradientReport, gradcheck


class Row(NamedTuple):
    """One example and the report on it."""

    example: Example
    report: GradientReport
    seconds: float


def select(names: Sequence[str], seed: int = 0) -> list[Example]:
    """Return the examples that are meant.

    Parameters
    ----------
    names : sequence of str
        Subjects of the catalogue, without regard to capitals where that is unambiguous, and
        ``module:object``. None of them means the whole catalogue.
    seed : int, optional
        Of the catalogue's inputs and weights.

    Returns
    -------
    list of Example

    Raises
    ------
    ValueError
        If there is no such subject, module or object, or the object holds no examples: with
        what is near.
    """
    catalogue = examples(seed)
    if not names:
        return catalogue
    found: list[Example] = []
    for name in names:
        if ":" in name:
            found += _of_the_user(name)
            continue
        same = [e for e in catalogue if e.subject == name]
        same = same or [e for e in catalogue if e.subject.lower() == name.lower()]
        if not same:
            subjects = sorted({e.subject for e in catalogue})
            near = difflib.get_close_matches(name, subjects, 3, 0.5) or subjects
            raise ValueError(
                f"there is no {name!r} in the catalogue; did you mean {', '.join(near)}? Code of "
                f"your own is named as module:object"
            )
        found += same
    return found


def survey(chosen: Iterable[Example], seed: int = 0) -> Iterator[Row]:
    """Check examples one after the other.

    Parameters
    ----------
    chosen : iterable of Example
    seed : int, optional
        Of the checks.

    Yields
    ------
    Row
    """
    for example in chosen:
        start = time.perf_counter()
        report = gradcheck(
            example.target, *example.inputs, options=example.options, run=example.run(), seed=seed
        )
        yield Row(example, report, time.perf_counter() - start)


def print_survey(
    rows: Iterable[Row], show: Callable[[str], Any] = print, *, details: bool = False
) -> bool:
    """Print a table as the rows come, and the whole report of those that did not pass.

    Parameters
    ----------
    rows : iterable of Row
    show : callable, optional
        Takes each line.
    details : bool, optional
        Show the whole report of every row.

    Returns
    -------
    bool
        Whether all passed.
    """
    show(
        f"{'':44} {'method':9} {'tensors':>7} {'entries':>7} {'worst error':>11}  verdict      time"
    )
    verdicts: list[str] = []
    seconds, worst = 0.0, 0.0
    for example, report, took in rows:
        methods = {entry.method.partition(" ")[0] for entry in report.entries} - {""}
        method = methods.pop() if len(methods) == 1 else "both"
        checked = sum(entry.checked for entry in report.entries)
        show(
            f"{example.name:44} {method:9} {len(report.entries):7} {checked:7} "
            f"{report.worst_error:11.1e}  {report.verdict:12} {took:4.2f} s"
        )
        if details or not report.ok:
            show("\n" + "\n".join(f"    {line}" for line in str(report).splitlines()) + "\n")
        verdicts.append(report.verdict)
        seconds, worst = seconds + took, max(worst, report.worst_error)
    counts = [f"{verdicts.count(v)} {v}" for v in ("pass", "fail", "inconclusive")]
    show(f"\n{', '.join(counts)}; worst error {worst:.1e}; {seconds:.1f} s")
    return all(verdict == "pass" for verdict in verdicts)


def _of_the_user(name: str) -> list[Example]:
    """Import ``module:object`` and return the examples that it is, holds or makes."""
    module, _, attribute = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{name!r} cannot be imported: {error}; expected module:object, the module on the "
            f"Python path or in the folder that you are in"
        ) from error
    if callable(found) and not isinstance(found, Example):
        found = found()
    several = [found] if isinstance(found, Example) else found
    several = list(several) if isinstance(several, Iterable) else []
    if not several or not all(isinstance(item, Example) for item in several):
        raise ValueError(
            f"{name!r} is not an npformer.catalogue.Example, nor several of them, nor a function "
            f"that returns them; write Example('my layer', '', layer, (x,))"
        )
    return several
