"""A gradient check of everything, one row each: what ``npformer check`` prints.

Without names it checks every example of the catalogue. A name is a subject of the catalogue
(``attention``, ``EncoderLayer``), one example as the table names it (``attention [causal]``), or
``module:object`` for code of your own, where the object is an `npformer.catalogue.Example`,
several of them, or a function that returns either.
"""

import difflib
import functools
import importlib
import inspect
import json
import os
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from .catalogue import Example, examples
from .core.arrays import describe
from .verify import Entry, GradientReport, gradcheck

_NAME = 48  # characters of the widest name
_MANY = 24  # examples from which on starting processes pays
VERDICTS = ("pass", "fail", "inconclusive", "error")


class Row(NamedTuple):
    """One example and the report on it, or what was raised instead."""

    example: Example
    report: GradientReport | None
    seconds: float
    error: str = ""

    @property
    def verdict(self) -> str:
        """That of the report, or ``"error"``."""
        return "error" if self.report is None else self.report.verdict


def select(names: Sequence[str], seed: int = 0) -> list[Example]:
    """Return the examples that are meant, each once.

    Parameters
    ----------
    names : sequence of str
        Subjects and examples of the catalogue, without regard to capitals where nothing is
        spelt as the name is, and ``module:object``. None of them means the whole catalogue.
    seed : int, optional
        Of the catalogue's inputs and weights.

    Returns
    -------
    list of Example

    Raises
    ------
    ValueError
        If there is no such subject, module or object, with what is near; or the object holds no
        examples, with how to write one.
    """
    catalogue = _drawn(seed)
    found = [] if names else list(catalogue)
    for name in dict.fromkeys(names):
        found += _of_the_user(name) if ":" in name else _of_the_catalogue(name, catalogue)
    return list({id(example): example for example in found}.values())


def survey(chosen: Sequence[Example], seed: int = 0, jobs: int | None = None) -> Iterator[Row]:
    """Check examples; one that raises does not keep the others.

    Parameters
    ----------
    chosen : sequence of Example
        As returned by `select` with the same seed.
    seed : int, optional
        Of the checks.
    jobs : int, optional
        Processes that share the work: as many as there are cores where nothing else is said and
        there is much to do. An example that is not the catalogue's own is checked in this process.

    Yields
    ------
    Row
        In the order of `chosen`, whatever the number of processes, and with the same report.

    Raises
    ------
    ValueError
        If `jobs` is not positive.
    """
    if jobs is not None and jobs < 1:
        raise ValueError(f"survey: jobs is {jobs}; expected at least 1")
    if jobs is None:
        jobs = (os.cpu_count() or 1) if len(chosen) >= _MANY else 1
    places = {example.name: place for place, example in enumerate(_drawn(seed))}
    shared = [e for e in chosen if _drawn(seed)[places.get(e.name, 0)] is e] if jobs > 1 else []
    if not shared:
        yield from (_check(example, seed) for example in chosen)
        return
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    # Processes that are started anew: a fork would inherit the locks of BLAS's threads.
    start = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(shared)), start) as pool:
        due = {id(e): pool.submit(_check_of_the_catalogue, places[e.name], seed) for e in shared}
        for example in chosen:
            if id(example) in due:
                yield Row(example, *due[id(example)].result())
            else:
                yield _check(example, seed)


@functools.lru_cache(1)
def _drawn(seed: int) -> list[Example]:
    """Return the catalogue, the same objects whenever it is asked for."""
    return examples(seed)


def _check_of_the_catalogue(place: int, seed: int) -> tuple[GradientReport | None, float, str]:
    """Check one example in another process, and return all of the row but the example."""
    row = _check(_drawn(seed)[place], seed)
    return row.report, row.seconds, row.error


def _check(example: Example, seed: int) -> Row:
    start = time.perf_counter()
    report, error = None, ""
    try:
        report = gradcheck(
            example.target, *example.inputs, options=example.options, run=example.run(), seed=seed
        )
    except Exception as raised:
        error = _told(raised)
    return Row(example, report, time.perf_counter() - start, error)


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
        f"{'':{_NAME}} {'tensors':>7} {'entries':>7} {'complex step':>12} "
        f"{'central difference, bound':>26}  verdict      time"
    )
    start = time.perf_counter()
    done: list[Row] = []
    for row in rows:
        done.append(row)
        entries = row.report.entries if row.report else ()
        checked = sum(entry.checked for entry in entries)
        show(
            f"{row.example.name:{_NAME}} {len(entries):7} {checked:7} {_exact(entries):>12} "
            f"{_central(entries):>26}  {row.verdict:12} {row.seconds:4.2f} s"
        )
        if details or row.verdict != "pass":
            text = row.error or str(row.report)
            show("\n" + "\n".join(f"    {line}" for line in text.splitlines()) + "\n")
    counts = [f"{sum(row.verdict == v for row in done)} {v}" for v in VERDICTS]
    everything = [entry for row in done if row.report for entry in row.report.entries]
    summary = [
        ", ".join(counts),
        f"complex step: worst error {_exact(everything)}",
        f"central difference: worst error {_central(everything)}",
        f"{time.perf_counter() - start:.1f} s",
    ]
    show("\n" + "; ".join(summary))
    return all(row.verdict == "pass" for row in done)


def survey_json(rows: Iterable[Row], show: Callable[[str], Any] = print) -> bool:
    """Print everything as one JSON object: `ok`, and the `checks` with their reports.

    Parameters
    ----------
    rows : iterable of Row
    show : callable, optional
        Takes the text.

    Returns
    -------
    bool
        Whether all passed.
    """
    checks = [
        {
            "name": row.example.name,
            "verdict": row.verdict,
            "seconds": row.seconds,
            "error": row.error,
            "report": json.loads(row.report.to_json()) if row.report else None,
        }
        for row in rows
    ]
    ok = all(check["verdict"] == "pass" for check in checks)
    show(json.dumps({"ok": ok, "checks": checks}, indent=2))
    return ok


def _exact(entries: Sequence[Entry]) -> str:
    """Return the worst error of the complex step."""
    errors = [e.complex_step.error for e in entries if e.complex_step]
    return f"{max(errors):.1e}" if errors else "-"


def _central(entries: Sequence[Entry]) -> str:
    """Return the error of a central difference that is largest for its bound, and this bound."""
    readings = []
    for entry in entries:
        if entry.central_difference and entry.verdict != "zero":
            value = entry.central_difference.value
            rounding = 2.0**-52 * (abs(entry.analytic) + abs(value))
            bound = entry.central_difference.bound + rounding
            readings.append((abs(entry.analytic - value), bound))
    if not readings:
        return "-"
    error, bound = max(readings, key=lambda pair: pair[0] / pair[1] if pair[1] else pair[0])
    return f"{error:.1e} of {bound:.1e}"


def _told(error: Exception) -> str:
    """Return what was raised, and where."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    what = "".join(traceback.format_exception_only(error)).strip()
    return f"{what}\nin {frame.name}, {frame.filename}, line {frame.lineno}"


def _of_the_catalogue(name: str, catalogue: list[Example]) -> list[Example]:
    """Return the examples of a subject, or the one of this name."""
    readings: list[Callable[[Example], bool]] = [
        lambda e: e.subject == name,
        lambda e: e.name == name,
        lambda e: e.subject.lower() == name.lower(),
        lambda e: e.name.lower() == name.lower(),
    ]
    for means in readings:
        found = [example for example in catalogue if means(example)]
        if found:
            return found
    known = {n.lower(): n for e in catalogue for n in (e.name, e.subject)}
    near = [known[n] for n in difflib.get_close_matches(name.lower(), known, 3, 0.6)]
    subjects = dict.fromkeys(example.subject for example in catalogue)
    hint = f"; did you mean {', '.join(near)}?" if near else f". It has {', '.join(subjects)}."
    raise ValueError(
        f"there is no {name!r} in the catalogue{hint} Code of your own is named as module:object"
    )


def _of_the_user(name: str) -> list[Example]:
    """Import ``module:object`` and return the examples that it is, holds or makes."""
    module, _, attribute = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (Exception, SystemExit) as error:  # a module of the user's may do anything
        why = " ".join(str(error).split())
        raise ValueError(
            f"{name!r} cannot be imported: {type(error).__name__}: {why}; expected "
            f"module:object, the module on the Python path or in the folder that you are in"
        ) from error
    how = _how_to_write(module, attribute.rpartition(".")[2], found)
    if inspect.isroutine(found) or isinstance(found, functools.partial):
        try:
            found = found()
        except (Exception, SystemExit) as error:
            raise ValueError(
                f"{name!r} is called without arguments, to return examples, and raised "
                f"{type(error).__name__}: {' '.join(str(error).split())}. {how}"
            ) from error
    if isinstance(found, Example):
        return [found]
    several = list(found) if isinstance(found, Iterable) and not isinstance(found, type) else []
    if not several or not all(isinstance(item, Example) for item in several):
        what = f"the class {found.__name__}" if isinstance(found, type) else describe(found)
        what = f"{what} that is empty" if isinstance(found, list) and not found else what
        raise ValueError(f"{name!r} is {what}; expected an Example, or some. {how}")
    return several


def _how_to_write(module: str, name: str, target: Any) -> str:
    """Return how to write the example of what is none."""
    written = name
    if isinstance(target, type):
        written = f"{name}(...)"
    elif inspect.isroutine(target):
        written = f"({name}, {name}_backward)"
    return (
        f"In {module}, write: from npformer.catalogue import Example; example = "
        f"Example('{name}', '', {written}, (x,)), where x is an input of forward; then check "
        f"{module}:example"
    )
