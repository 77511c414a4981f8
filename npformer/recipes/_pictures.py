"""Pictures: the loss of a run, where its attention went, and how sure a model is of labels.

matplotlib is asked for when a picture is drawn, through its objects alone: no window, no state.
"""

import os
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core.arrays import Array
from ..core.errors import optional
from ._settings import InputError
from ._targets import check_target

_DPI = 150
_BLUE, _ORANGE, _GREY = "#1f5a96", "#d9731a", "0.35"


class Attention(NamedTuple):
    """What an attention picture shows: the weights, and perhaps what is heard meanwhile."""

    weights: Array  # (n_q, n_k)  rows sum to 1
    queries: Sequence[str]  # (n_q,)  the characters, or longer pieces, along y
    keys: Sequence[str]  # (n_k,)  those along x
    title: str
    query_name: str  # what the queries are, to label the axis with
    key_name: str
    what: str = "attention weight"
    spectrum: Array | None = None  # (n_mels, frames)  of what the keys stand for, above them


def draw_loss(
    path: str | os.PathLike[str],
    train: Sequence[float],
    held_out: Sequence[tuple[int, dict[str, float]]],
    *,
    title: str,
    unit: str,
    floor: float = 0.0,
) -> None:
    """Draw the loss of every step, its running mean, and what held-out data said.

    Parameters
    ----------
    path : path
        Where the picture goes; its ending chooses the format.
    train : sequence of float
        Loss of each step, from step 1.
    held_out : sequence of (int, dict of str to float)
        After which step, and the measures: ``"loss"``, and any share between 0 and 1, which
        gets a panel of its own.
    title : str
    unit : str
        What the loss is counted in.
    floor : float, optional
        The lowest loss there can be, if it is not 0: drawn as a line.

    Raises
    ------
    MissingExtraError
        Without matplotlib.
    InputError
        If the ending names no picture format, or there is no such folder.
    """
    shares = [name for name in (held_out[0][1] if held_out else {}) if name != "loss"]
    figure = new_figure(path, (7.0, 4.2 + max(0, len(shares) - 1) * 1.4))  # a panel each
    panels = figure.subplots(
        1 + len(shares), 1, sharex=True, squeeze=False, height_ratios=[2] + [1] * len(shares)
    )[:, 0]
    steps = np.arange(1, len(train) + 1)
    top = panels[0]
    top.plot(steps, train, color=_BLUE, alpha=0.25, linewidth=0.8, label="training, each step")
    window = max(1, len(train) // 50)
    if window > 1:
        mean = np.convolve(train, np.full(window, 1 / window), "valid")
        middle = steps[window // 2 :][: len(mean)]
        label = f"training, mean of {window} steps"
        top.plot(middle, mean, color=_BLUE, linewidth=1.6, label=label)
    looks = [step for step, _ in held_out]
    dots: dict[str, Any] = {"color": _ORANGE, "marker": "o", "markersize": 3.5, "linewidth": 1.4}
    if held_out:
        values = [measures["loss"] for _, measures in held_out]
        top.plot(looks, values, label=f"held out (last {values[-1]:.3f})", **dots)
    if floor:
        label = f"lowest possible with smoothed labels ({floor:.3f})"
        top.axhline(floor, color=_GREY, linewidth=0.9, linestyle=(0, (5, 4)), label=label)
    top.set_ylabel(f"loss ({unit})")
    top.set_ylim(bottom=0)
    top.legend(frameon=False)
    for panel, name in zip(panels[1:], shares, strict=True):
        values = [100 * measures[name] for _, measures in held_out]
        panel.plot(looks, values, label=f"held out (last {values[-1]:.1f} %)", **dots)
        panel.set_ylabel(f"{name} (%)", fontsize=9)
        panel.set_ylim(-4, 104)
        panel.legend(frameon=False, loc="lower right")
    for panel in panels:
        panel.grid(color="0.9", linewidth=0.7)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel("step")
    panels[-1].set_xlim(0, max(len(train), 1))
    top.set_title(title, loc="left", parse_math=False)
    save_figure(figure, path)


def draw_attention(path: str | os.PathLike[str], attention: Attention) -> None:
    """Draw attention weights as a heat map, pieces of text along both axes; above, what is heard.

    Parameters
    ----------
    path : path
        Where the picture goes; its ending chooses the format.
    attention : Attention

    Raises
    ------
    MissingExtraError
        Without matplotlib.
    InputError
        If the ending names no picture format, or there is no such folder.
    """
    weights, queries, keys = attention.weights, attention.queries, attention.keys
    cell = min(0.28, 14 / max(len(keys), len(queries), 1))  # inches
    points = min(11.0, 50 * cell)
    wide, high = (
        0.6 * points / 72 * (max(map(len, pieces), default=1) - 1) for pieces in (queries, keys)
    )
    size = (max(4.5, cell * len(keys) + 1.9 + wide), max(2.6, cell * len(queries) + 1.4 + high))
    if attention.spectrum is None:
        figure = new_figure(path, size)
        panels = [figure.subplots()]
    else:
        figure = new_figure(path, (size[0], size[1] + 1.8))
        panels = list(figure.subplots(2, 1, sharex=True, height_ratios=[1.8, size[1] - 1]))
        frame = (-0.5, len(keys) - 0.5, 0, len(attention.spectrum))
        picture = {"cmap": "Greys", "origin": "lower", "extent": frame, "aspect": "auto"}
        panels[0].imshow(attention.spectrum, **picture)
        panels[0].set_ylabel("frequency", color=_GREY)
        panels[0].set_yticks([])
        panels[0].spines[:].set_visible(False)
    panel = panels[-1]
    shades = {"cmap": "Blues", "vmin": 0, "vmax": float(weights.max())}
    image = panel.imshow(weights, aspect="auto" if len(panels) > 1 else "equal", **shades)
    letters = {"family": "monospace", "size": points, "parse_math": False}
    panel.set_xticks(range(len(keys)), [_visible(c) for c in keys], **letters)
    panel.set_yticks(range(len(queries)), [_visible(c) for c in queries], **letters)
    panel.tick_params(length=0)
    for label in panel.get_xticklabels():
        label.set_rotation(90 if len(label.get_text()) > 2 else 0)
    # Thin white lines between the cells, so that a character's row and column can be followed.
    panel.set_xticks(np.arange(len(keys) + 1) - 0.5, minor=True)
    panel.set_yticks(np.arange(len(queries) + 1) - 0.5, minor=True)
    panel.grid(which="minor", color="white", linewidth=4 * cell)
    panel.tick_params(which="minor", length=0)
    panel.spines[:].set_visible(False)
    panel.set_xlabel(attention.key_name, color=_GREY)
    panel.set_ylabel(attention.query_name, color=_GREY)
    panels[0].set_title(attention.title, loc="left", fontsize=11, parse_math=False)
    panels[0].tick_params(which="both", length=0)
    bar = figure.colorbar(image, ax=panels, label=attention.what, fraction=0.03, pad=0.02)
    bar.outline.set_visible(False)
    save_figure(figure, path, bbox_inches="tight")  # a title may be wider than the cells


def draw_shares(
    path: str | os.PathLike[str], image: Any, labels: Sequence[str], shares: Array, title: str
) -> None:
    """Draw an image, and beside it a bar for each label.

    Parameters
    ----------
    path : path
        Where the picture goes; its ending chooses the format.
    image : PIL.Image.Image or (height, width, 3) ndarray
    labels : sequence of str
        From top to bottom.
    shares : (len(labels),) ndarray
        From 0 to 1.
    title : str

    Raises
    ------
    MissingExtraError
        Without matplotlib.
    InputError
        If the ending names no picture format, or there is no such folder.
    """
    figure = new_figure(path, (8.0, max(2.8, 0.36 * len(labels) + 1.1)))
    seen, bars = figure.subplots(1, 2, width_ratios=[1, 1.6])
    seen.imshow(image)
    seen.set_axis_off()
    seen.set_title(title, loc="left", fontsize=11, parse_math=False)
    places = np.arange(len(labels))
    drawn = bars.barh(places, 100 * shares, color=_BLUE, height=0.7)
    bars.bar_label(drawn, [f"{100 * share:.1f} %" for share in shares], padding=3)
    bars.set_yticks(places, labels, parse_math=False)
    bars.invert_yaxis()
    bars.set_xlim(0, 115)
    bars.set_xticks(range(0, 101, 25))
    bars.set_xlabel("share (%)")
    bars.tick_params(axis="y", length=0)
    bars.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)


def _visible(piece: str) -> str:
    """Return a piece with something to see for each character that would leave its place empty."""
    return piece.translate({ord(" "): "␣", ord("\n"): "↵", ord("\t"): "⇥"})


def new_figure(path: str | os.PathLike[str], size: tuple[float, float]) -> Any:
    """Return an empty figure (inches), once it is sure that it can be saved at `path`.

    Raises
    ------
    MissingExtraError
        Without matplotlib.
    InputError
        If the ending names no picture format, or there is no such folder.
    """
    check_target(path)
    figure = optional("matplotlib.figure", extra="cli", purpose="draw pictures").Figure(
        figsize=size, layout="constrained"
    )
    # Agg draws into memory, with or without a screen.
    agg = optional("matplotlib.backends.backend_agg", extra="cli", purpose="draw pictures")
    agg.FigureCanvasAgg(figure)
    ending = os.path.splitext(path)[1].lstrip(".").lower()
    formats = figure.canvas.get_supported_filetypes()
    if ending not in formats:
        raise InputError(
            f"{os.fspath(path)!r} ends in no picture format; use one of "
            f"{', '.join('.' + name for name in sorted(formats))}"
        )
    return figure


def save_figure(figure: Any, path: str | os.PathLike[str], **how: Any) -> None:
    """Write a figure to its file."""
    with warnings.catch_warnings():
        # A character that the font lacks is drawn as a box; that is no reason to stop.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(path, dpi=_DPI, **how)
