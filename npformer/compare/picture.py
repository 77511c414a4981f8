"""The picture of a comparison: times and recall, and the reach of gradients drawn and trained."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..core.arrays import Array
from ..recipes._pictures import new_figure, save_figure
from .measures import Reach, Recall, Times

_COLOURS = ("#1f5a96", "#d9731a", "#3a8f5c", "#8a4fa3")


def draw(
    path: str | os.PathLike[str],
    times: Mapping[str, Times],
    reach: Mapping[str, Reach],
    recalls: Mapping[str, Mapping[int, Recall]],
    guess: float,
) -> None:
    """Draw all four; of the trained models, those at the middle one of the distances.

    Parameters
    ----------
    path : path
        Where the picture goes; its ending chooses the format.
    times, reach : mapping of an architecture's name to what was measured
    recalls : mapping of a name to a mapping of distances to what was measured
    guess : float
        The share that is right without any memory.

    Raises
    ------
    MissingExtraError
        Without matplotlib.
    InputError
        If the ending names no picture format, or there is no such folder.
    """
    figure = new_figure(path, (10.0, 7.4))
    (time, drawn), (share, trained) = figure.subplots(2, 2)
    distances = list(next(iter(recalls.values())))
    middle = distances[len(distances) // 2]
    for name, colour in zip(times, _COLOURS, strict=True):
        found = times[name]
        label = f"{name}, n^{found.exponent:.1f}"
        milliseconds = [1e3 * s for s in found.seconds]
        time.loglog(found.lengths, milliseconds, "o-", color=colour, label=label, markersize=4)
        norms = reach[name].norms / reach[name].norms[0]
        _curve(drawn, norms, color=colour, label=name)
        shares = [100 * one.right for one in recalls[name].values()]
        share.plot(distances, shares, "o-", color=colour, label=name, markersize=4)
        one = recalls[name][middle]
        label = f"{name}: {100 * one.right:.0f} % right"
        _curve(trained, one.before.norms, color=colour, linestyle=":", linewidth=1.2)
        _curve(trained, one.after.norms, color=colour, label=label)
    share.axhline(100 * guess, color="0.35", linewidth=0.9, linestyle=(0, (5, 4)), label="a guess")
    time.set_title("forward and backward (ms)", loc="left", fontsize=11)
    time.set_xlabel("length n")
    drawn.set_title("norm of dy_T / dx_t as drawn, from 1", loc="left", fontsize=11)
    drawn.set_xlabel("distance T - t")
    drawn.set_ylim(1e-12, 30)
    share.set_title("tokens recalled (%)", loc="left", fontsize=11)
    share.set_xlabel("distance")
    share.set_xscale("log", base=2)
    share.set_ylim(-4, 104)
    title = f"norm as drawn (dots), and trained to recall at {middle}"
    trained.set_title(title, loc="left", fontsize=11)
    trained.set_xlabel("distance T - t")
    for panel in (time, drawn, share, trained):
        panel.grid(color="0.9", linewidth=0.7)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(frameon=False, fontsize=8, loc=(0.02, 0.16) if panel is share else "best")
    save_figure(figure, path)


def _curve(panel: Any, norms: Array, **how: Any) -> None:
    """Draw norms against their distance, without those that are 0."""
    places = np.flatnonzero(norms)
    panel.semilogy(places, norms[places], **how)
