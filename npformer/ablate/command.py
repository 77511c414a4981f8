"""``npformer ablate``: tables and a picture of what positions, heads and the scale are worth."""

import argparse
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from ..recipes._pictures import new_figure
from ..recipes._settings import COUNT, FILE, SEED, one_of
from ..recipes._targets import check_target
from .bench import HEADS, LEARNED, POSITIONS, SCALES, Bench, parameters, summary
from .measures import BEYOND, LENGTH, WITHIN, Order, Scores, measure_order, measure_scores
from .model import WIDTH
from .picture import draw
from .tasks import BACK, VOCABULARY

STUDIES = ("positions", "heads", "scale")
WIDTHS = (4, 16, 64, 256)  # of heads, whose scores are measured


def register_ablate(commands: Any) -> None:
    """``npformer ablate``."""
    parser = commands.add_parser(
        "ablate", help="measure what positions, heads and the scale of attention are worth"
    )
    parser.add_argument(
        "studies",
        nargs="*",
        type=one_of(*STUDIES).parse,
        metavar="STUDY",
        help=f"{' or '.join(STUDIES)}, or several of them (default: all)",
    )
    parser.add_argument(
        "--steps", type=COUNT.parse, metavar="N", default=200, help="of each training (default 200)"
    )
    parser.add_argument(
        "--repeats",
        type=COUNT.parse,
        metavar="N",
        default=3,
        help="trainings of each model, from another seed each (default 3)",
    )
    parser.add_argument(
        "--seed", type=SEED.parse, metavar="N", default=0, help="the first of them (default 0)"
    )
    parser.add_argument(
        "--out", type=FILE.parse, metavar="FILE", help="draw what was measured here"
    )
    parser.add_argument(
        "--json", type=FILE.parse, metavar="FILE", help="write all numbers of all trainings here"
    )
    parser.set_defaults(act=_ablate)


def _ablate(arguments: argparse.Namespace) -> int:
    if arguments.out:
        new_figure(arguments.out, (1.0, 1.0))  # refuses what cannot be drawn before any work
    if arguments.json:
        check_target(arguments.json)
    bench = Bench(arguments.steps, range(arguments.seed, arguments.seed + arguments.repeats))
    chosen = [study for study in STUDIES if study in (arguments.studies or STUDIES)]
    print(
        f"A Transformer of 2 layers, width {WIDTH}, trained on {LENGTH} places for "
        f"{bench.steps} steps; mean of {len(bench.seeds)} trainings ± half their range"
    )
    order: dict[str, Order] = {}
    scores: dict[int, tuple[Scores, Scores]] = {}
    if "positions" in chosen:
        _recall_by_position(bench)
        _text_by_position(bench)
        order = _order(arguments.seed)
    if "heads" in chosen:
        _heads(bench)
    if "scale" in chosen:
        scores = _scores(arguments.seed)
        _scale(bench)
    if arguments.json:
        found = {
            "trainings": bench.as_json(),
            "order": {name: one._asdict() for name, one in order.items()},
            "scores": {
                d_k: {"scaled": scaled._asdict(), "not": raw._asdict()}
                for d_k, (scaled, raw) in scores.items()
            },
        }
        Path(arguments.json).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(f"\nwritten to {os.fspath(Path(arguments.json))}")
    if arguments.out:
        draw(arguments.out, bench, chosen, scores)
        print(f"\ndrawn in {os.fspath(Path(arguments.out))}")
    return 0


def _recall_by_position(bench: Bench) -> None:
    """Print how many tokens some places back are found, within the trained places and beyond."""
    print(
        f"\nPositions: per cent of tokens {BACK} places back that are found "
        f"(a guess: {100 / VOCABULARY:.0f})"
    )
    _row("places", *_places(), f"steps to {LEARNED:.0f} nat")
    for name, changes in POSITIONS.items():
        runs = bench.train("back", **changes)
        cells = (
            _cell(summary(runs, lambda run, at=at: _percent(run.judged[at])), 0, "refused")  # type: ignore[misc]
            for at in range(1 + len(BEYOND))
        )
        _row(name, *cells, _steps(bench, runs))


def _text_by_position(bench: Bench) -> None:
    """Print the loss on text, within the trained places and beyond."""
    print("\nPositions: loss on held-out text, nats a character")
    _row("places", *_places())
    for name, changes in POSITIONS.items():
        if changes.get("causal", True):
            runs = bench.train("text", **changes)
            cells = (
                _cell(summary(runs, lambda run, at=at: _loss(run.judged[at])), 2, "refused")  # type: ignore[misc]
                for at in range(1 + len(BEYOND))
            )
            _row(name, *cells)


def _order(seed: int) -> dict[str, Order]:
    """Measure and print what a permutation of the tokens changes."""
    print("\nPositions: |f(P x) - P f(x)| / |f(x)| of a permutation P; weights as drawn, float64")
    _row("", "both ways", "causal")
    found = {}
    for name in ("none", "learned", "sinusoidal", "rotary", "alibi"):
        one = found[name] = measure_order(name, rng=np.random.default_rng(seed))
        _row(name, f"{one.both_ways:.0e}", f"{one.causal:.0e}")
    return found


def _heads(bench: Bench) -> None:
    """Print what heads of equal width in all cost, and bring."""
    print(f"\nHeads, {WIDTH} wide in all: loss on text, and the token {BACK} places back")
    _row("heads", "width", "nats of text", "found (%)", f"steps to {LEARNED:.0f} nat", "CPU ms")
    for heads in HEADS:
        text, back = (bench.train(task, heads=heads) for task in ("text", "back"))
        _row(
            str(heads),
            WIDTH // heads,
            _cell(summary(text, lambda run: _loss(run.judged[0])), 2),
            _cell(summary(back, lambda run: _percent(run.judged[0])), 0),
            _steps(bench, back),
            f"{min(run.milliseconds for run in text):.1f}",
        )
    counts = {parameters(bench.train("text", heads=heads)) for heads in HEADS}
    print(f"parameters of each, on text: {', '.join(f'{count:,}' for count in counts)}")


def _scores(seed: int) -> dict[int, tuple[Scores, Scores]]:
    """Measure and print what the scale does to scores."""
    rng, found = np.random.default_rng(seed), {}
    print(
        "\nScale: scores of queries and keys of variance 1 with 64 keys, divided by sqrt(d_k) "
        "and not"
    )
    _row("d_k", "variance", "not", "entropy", "not", "median |J|", "not", "mean |J|", "not")
    for d_k in WIDTHS:
        scaled, raw = found[d_k] = (
            measure_scores(d_k, math.sqrt(d_k), rng=rng),
            measure_scores(d_k, 1.0, rng=rng),
        )
        pairs = zip(scaled, raw, strict=True)
        _row(str(d_k), *(f"{number:.2f}" for pair in pairs for number in pair))
    print(f"(entropy of 64 equal weights: {math.log(64):.2f} nats; J is the Jacobian of softmax)")
    return found


def _scale(bench: Bench) -> None:
    """Print what the scale does to learning."""
    print(f"\nScale: learning the token {BACK} places back, and text")
    _row("heads", "found (%)", f"steps to {LEARNED:.0f} nat", "nats of text")
    for name, changes in SCALES.items():
        back, text = (bench.train(task, **changes) for task in ("back", "text"))
        _row(
            name,
            _cell(summary(back, lambda run: _percent(run.judged[0])), 0),
            _steps(bench, back),
            _cell(summary(text, lambda run: _loss(run.judged[0])), 2),
        )


def _places() -> list[str]:
    return [f"{first + 1}-{last}" for first, last in (WITHIN, *BEYOND)]


def _percent(judged: Any) -> float | None:
    return None if judged is None else 100 * float(judged.right)


def _loss(judged: Any) -> float | None:
    return None if judged is None else float(judged.loss)


def _steps(bench: Bench, runs: list[Any]) -> str:
    return _cell(summary(runs, lambda run: run.steps_to(LEARNED)), 0, f"over {bench.steps}")


def _cell(found: tuple[float, float] | None, digits: int, otherwise: str = "") -> str:
    return otherwise if found is None else f"{found[0]:.{digits}f} ±{found[1]:.{digits}f}"


def _row(name: str, *cells: object) -> None:
    width = 12 if len(cells) > 6 else 16
    line = f"{name:20}" + "".join(f"{cell!s:>{width}}" for cell in cells)
    print(line.rstrip(), flush=True)
