"""``npformer compare``: tables and a picture of attention beside RNN, LSTM and convolutions."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..recipes._pictures import new_figure
from ..recipes._settings import COUNT, FILE, SEED, InputError
from .measures import (
    VOCABULARY,
    Reach,
    Recall,
    Times,
    all_recalls,
    measure_reach,
    measure_times,
)
from .mixers import DEPTH, HEADS, KERNEL, MIXERS
from .picture import draw

LENGTHS = (64, 128, 256, 512, 1024, 2048)
DISTANCES = (4, 16, 64)
_REACH, _WIDTH = 128, 32  # of the sequence through which gradients are followed
_SHOWN = (1, 4, 16, 17, 64, 127)  # distances that the table shows of it


def register_compare(commands: Any) -> None:
    """``npformer compare``."""
    parser = commands.add_parser(
        "compare", help="measure self-attention beside an RNN, an LSTM and convolutions"
    )
    parser.add_argument(
        "--width",
        type=COUNT.parse,
        metavar="N",
        default=64,
        help=f"of the sequences that are timed, a multiple of {HEADS} (default 64)",
    )
    parser.add_argument(
        "--lengths",
        type=COUNT.parse,
        nargs="+",
        metavar="N",
        default=list(LENGTHS),
        help="that are timed, two or more (default " + " ".join(map(str, LENGTHS)) + ")",
    )
    parser.add_argument(
        "--distances",
        type=COUNT.parse,
        nargs="+",
        metavar="N",
        default=list(DISTANCES),
        help="at which a token is to be recalled (default " + " ".join(map(str, DISTANCES)) + ")",
    )
    parser.add_argument(
        "--parameters",
        type=COUNT.parse,
        metavar="N",
        default=5000,
        help="of each model that recalls, as nearly as a width allows (default 5000)",
    )
    parser.add_argument(
        "--steps", type=COUNT.parse, metavar="N", default=300, help="of its training (default 300)"
    )
    parser.add_argument("--seed", type=SEED.parse, metavar="N", default=0)
    parser.add_argument(
        "--out", type=FILE.parse, metavar="FILE", help="draw times, recall and reach here"
    )
    parser.set_defaults(act=_compare)


def _compare(arguments: argparse.Namespace) -> int:
    lengths, distances = sorted(set(arguments.lengths)), sorted(set(arguments.distances))
    if len(lengths) < 2:
        raise InputError(f"--lengths is {lengths[0]} alone; expected two or more, to fit a power")
    if arguments.width % HEADS:
        raise InputError(
            f"--width is {arguments.width}; expected a multiple of {HEADS}, the number of heads"
        )
    if arguments.parameters < 200:
        raise InputError(
            f"--parameters is {arguments.parameters}; expected at least 200, for no model is "
            f"smaller than its narrowest layer"
        )
    if arguments.out:
        new_figure(arguments.out, (1.0, 1.0))  # refuses what cannot be drawn before any work
    rng = np.random.default_rng(arguments.seed)
    times = _time(lengths, arguments.width, rng)
    reach = _follow(rng)
    recalls = _recall(distances, arguments)
    if arguments.out:
        draw(arguments.out, times, reach, recalls, 1 / VOCABULARY)
        print(f"\ndrawn in {os.fspath(Path(arguments.out))}")
    return 0


def _time(lengths: Sequence[int], width: int, rng: np.random.Generator) -> dict[str, Times]:
    """Measure and print the times."""
    print(
        f"Milliseconds of one pass forward and backward, one sequence, width {width} "
        f"(convolutions: {DEPTH}, of kernel {KERNEL})"
    )
    _row("length", *lengths, "power", f"{'operations':15}one after another")
    found = {}
    for mixer in MIXERS.values():
        times = found[mixer.name] = measure_times(mixer, lengths, width, rng=rng)
        cells = [f"{1e3 * s:.2f}" for s in times.seconds]
        steps = "n" if mixer.steps(100) == 100 else str(mixer.steps(100))
        _row(mixer.name, *cells, f"{times.exponent:.2f}", f"{mixer.growth:15}{steps}")
    return found


def _follow(rng: np.random.Generator) -> dict[str, Reach]:
    """Measure and print how far gradients reach."""
    print("\nNorm of dy_T / dx_t at a distance T - t, relative to distance 0; weights as drawn")
    _row("distance", *_SHOWN, "hears")
    found = {}
    for mixer in MIXERS.values():
        layer, x = mixer.build(_WIDTH, rng, np.float64), rng.standard_normal((1, _REACH, _WIDTH))
        reach = found[mixer.name] = measure_reach(layer, x, rng=rng)
        heard = mixer.reach(_REACH)
        cells = [f"{reach.at(d):.0e}" if reach.norms[d] else "0" for d in _SHOWN]
        _row(mixer.name, *cells, "all" if heard == _REACH else f"{heard} places")
    return found


def _recall(
    distances: Sequence[int], arguments: argparse.Namespace
) -> dict[str, dict[int, Recall]]:
    """Measure and print what is recalled."""
    print(
        f"\nPer cent of held-out sequences in which the token at a distance is recalled, after "
        f"{arguments.steps} steps (a guess: {100 / VOCABULARY:.0f})"
    )
    _row("distance", *distances, "width", "parameters")
    found: dict[str, dict[int, Recall]] = {name: {} for name in MIXERS}
    measured = all_recalls(distances, arguments.parameters, arguments.steps, arguments.seed)
    for name, distance, recall in measured:
        found[name][distance] = recall
        if len(found[name]) == len(distances):
            cells = [f"{100 * one.right:.0f}" for one in found[name].values()]
            _row(name, *cells, recall.width, f"{recall.parameters:,}")
    print(
        "\nNorm of dy_T / dx_t of these models at the distance asked for, as drawn and as trained"
    )
    _row("distance", *(cell for distance in distances for cell in ("", distance)), "")
    _row("", *("drawn", "trained") * len(distances), "")
    for name, recalled in found.items():
        norms = [reach.norms[d] for d, one in recalled.items() for reach in (one.before, one.after)]
        _row(name, *(f"{norm:.0e}" if norm else "0" for norm in norms), "")
    return found


def _row(name: str, *cells: object) -> None:
    *most, last = cells
    line = f"{name:12}" + "".join(f"{cell!s:>9}" for cell in most) + f"   {last}"
    print(line.rstrip(), flush=True)
