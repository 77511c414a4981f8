"""The picture of a comparison: times, reach and recall, side by side."""

import os
from collections.abc import Mapping

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
    """Draw all three.

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
    figure = new_figure(path, (12.0, 3.8))
    left, middle, right = figure.subplots(1, 3)
    for name, colour in zip(times, _COLOURS, strict=True):
        found = times[name]
        label = f"{name}, n^{found.exponent:.1f}"
        milliseconds = [1e3 * s for s in found.seconds]
        left.loglog(found.lengths, milliseconds, "o-", color=colour, label=label, markersize=4)
        norms = reach[name].norms / reach[name].norms[0]
        places = [d for d, norm in enumerate(norms) if norm > 0]
        middle.semilogy(places, norms[places], color=colour, label=name)
        shares = [100 * one.right for one in recalls[name].values()]
        right.plot(list(recalls[name]), shares, "o-", color=colour, label=name, markersize=4)
    right.axhline(100 * guess, color="0.35", linewidth=0.9, linestyle=(0, (5, 4)), label="a guess")
    left.set_title("forward and backward (ms)", loc="left", fontsize=11)
    left.set_xlabel("length n")
    middle.set_title("norm of dy_T / dx_t, from 1", loc="left", fontsize=11)
    middle.set_xlabel("distance T - t")
    middle.set_ylim(1e-12, 30)
    right.set_title("tokens recalled (%)", loc="left", fontsize=11)
    right.set_xlabel("distance")
    right.set_xscale("log", base=2)
    right.set_ylim(-4, 104)
    for panel in (left, middle, right):
        panel.grid(color="0.9", linewidth=0.7)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(frameon=False, fontsize=8, loc=(0.02, 0.16) if panel is right else "best")
    save_figure(figure, path)
