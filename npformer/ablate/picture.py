"""The picture of the studies: a row of panels for each."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..recipes._pictures import new_figure, save_figure
from .bench import HEADS, POSITIONS, SCALES, Bench
from .measures import BEYOND, LENGTH, WITHIN, Scores, Trained
from .tasks import BACK, VOCABULARY

_COLOURS = ("#8a8a8a", "#222222", "#1f5a96", "#3a8f5c", "#d9731a", "#8a4fa3")
_DASHED = (0, (5, 4))


def draw(
    path: str | os.PathLike[str],
    bench: Bench,
    studies: Sequence[str],
    scores: Mapping[int, tuple[Scores, Scores]],
) -> None:
    """Draw two panels for each study, one below the other; ranges of the trainings are shaded.

    Parameters
    ----------
    path : path
        Where the picture goes; its ending chooses the format.
    bench : Bench
        That has trained what the studies need; what is missing is trained now.
    studies : sequence of "positions", "heads" or "scale"
    scores : mapping of d_k to scores, scaled and not

    Raises
    ------
    MissingExtraError
        Without matplotlib.
    InputError
        If the ending names no picture format, or there is no such folder.
    """
    figure = new_figure(path, (10.0, 3.7 * len(studies)))
    rows = figure.subplots(len(studies), 2, squeeze=False)
    for study, (left, right) in zip(studies, rows, strict=True):
        if study == "positions":
            _by_position(left, bench, "back", lambda judged: 100 * judged.right)
            left.axhline(100 / VOCABULARY, color="0.35", linewidth=0.9, linestyle=_DASHED)
            left.set_title(f"found {BACK} places back (%)", loc="left", fontsize=11)
            left.set_ylim(-4, 104)
            _by_position(right, bench, "text", lambda judged: judged.loss)
            right.set_title("loss on text (nats a character)", loc="left", fontsize=11)
        elif study == "heads":
            for task, panel in (("back", left), ("text", right)):
                for heads, colour in zip(HEADS, _COLOURS[1:], strict=True):
                    _curve(panel, bench.train(task, heads=heads), color=colour, label=f"{heads}")
            left.set_title("heads: training loss, places back (nats)", loc="left", fontsize=11)
            right.set_title("heads: training loss, text (nats)", loc="left", fontsize=11)
        else:
            widths = list(scores)
            for at, name, shade in ((0, "divided by sqrt(d_k)", 2), (1, "not", 4)):
                for how, line in (("median", "-"), ("mean", ":")):
                    norms = [getattr(pair[at], how) for pair in scores.values()]
                    label = f"{name}, {how} row"
                    style = {"linestyle": line, "marker": "o", "markersize": 4}
                    left.plot(widths, norms, color=_COLOURS[shade], label=label, **style)
            left.set_xscale("log", base=2)
            left.set_xlabel("d_k")
            left.set_ylim(0, None)
            left.set_title("norm of softmax's Jacobian, 64 keys", loc="left", fontsize=11)
            for (name, changes), shade in zip(SCALES.items(), (2, 4, 3, 5), strict=True):
                dashes = "-" if changes["scaled"] else "--"
                runs = bench.train("back", **changes)
                _curve(right, runs, color=_COLOURS[shade], label=name, linestyle=dashes)
            title = f"training loss, {BACK} places back (nats)"
            right.set_title(title, loc="left", fontsize=11)
    for panel in rows.flat:
        panel.grid(color="0.9", linewidth=0.7)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(frameon=False, fontsize=8)
    save_figure(figure, path)


def _by_position(panel: Any, bench: Bench, task: str, what: Any) -> None:
    """Draw a number at the end of the places that it is about, one line for each position."""
    ends = [last for _, last in (WITHIN, *BEYOND)]
    for (name, changes), colour in zip(POSITIONS.items(), _COLOURS, strict=True):
        if task == "text" and not changes.get("causal", True):
            continue
        runs = bench.train(task, **changes)
        known = [at for at in range(len(ends)) if runs[0].judged[at] is not None]
        numbers = np.array([[what(run.judged[at]) for at in known] for run in runs])
        at = [ends[place] for place in known]
        _band(panel, at, numbers, color=colour, label=name, marker="o", markersize=4)
    panel.axvline(LENGTH, color="0.35", linewidth=0.9, linestyle=_DASHED)
    panel.set_xscale("log", base=2)
    panel.set_xticks(ends, [str(end) for end in ends])
    panel.set_xlabel(f"places up to (trained on {LENGTH})")


def _curve(panel: Any, runs: Sequence[Trained], **how: Any) -> None:
    """Draw losses of training, each the mean of ten steps."""
    curves = np.array([run.curve for run in runs])
    size = min(10, curves.shape[1])
    whole = curves[:, : curves.shape[1] // size * size]
    means = whole.reshape(len(runs), -1, size).mean(axis=-1)
    _band(panel, size * (np.arange(means.shape[1]) + 0.5), means, **how)
    panel.set_xlabel("step")


def _band(panel: Any, at: Any, numbers: Any, **how: Any) -> None:
    """Draw the mean over the rows of numbers, and their range."""
    panel.plot(at, numbers.mean(axis=0), **how)
    panel.fill_between(
        at, numbers.min(axis=0), numbers.max(axis=0), color=how["color"], alpha=0.15, linewidth=0
    )
