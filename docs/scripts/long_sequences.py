"""Measure and draw what docs/long-sequences.md says: its tables and its pictures.

    python docs/scripts/long_sequences.py lengths|patterns

Prints one of the page's two tables, and draws the picture that goes with it. Needs matplotlib
(pip install 'npformer[cli,fast]'). Takes some minutes. Each point is a process of its own: the
median of several passes, forward and backward, after one to warm up, and how far the process's
memory rose above that of its inputs.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import npformer.functional as F
from npformer import masks

IMAGES = Path(__file__).resolve().parents[1] / "images"
INK, RED, BLUE, GREEN, GREY = "#222222", "#c0392b", "#2471a3", "#1e8449", "#8a8a8a"
HEADS, WIDTH, WINDOW = 8, 64, 256


def attention(mask, method):
    def both_ways(q, k, v, dy):
        _, saved = F.attention(q, k, v, mask=mask, method=method)
        F.attention_backward(dy, saved)

    return both_ways


def linear(q, k, v, dy):
    _, saved = F.linear_attention(q, k, v, causal=True)
    F.linear_attention_backward(dy, saved)


# name: (what runs, longest sequence, colour)
WAYS = {
    "textbook": (attention(masks.causal(), "textbook"), 4096, RED),
    "tiles": (attention(masks.causal(), "tiled"), 16384, INK),
    "tiles, window 256": (
        attention(masks.causal() & masks.sliding_window(WINDOW), "tiled"),
        65536,
        BLUE,
    ),
    "linear attention": (linear, 65536, GREEN),
}
SEEN = 16  # megabytes; less is lost in what the process had taken before
LENGTHS = [2**n for n in range(9, 17)]


def measure(both_ways, length):
    """Print the median seconds of a pass, and the megabytes it took beside its inputs."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((1, HEADS, length, WIDTH), dtype=np.float32) for _ in range(4)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    both_ways(*arrays)
    times = []
    began = time.perf_counter()
    while len(times) < 3 or (time.perf_counter() - began < 1.0 and len(times) < 20):
        start = time.perf_counter()
        both_ways(*arrays)
        times.append(time.perf_counter() - start)
    unit = 2**20 if sys.platform == "darwin" else 2**10
    rise = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / unit
    print(statistics.median(times), rise)


def curves(rounds):
    """Return for each way its lengths, seconds and megabytes."""
    found = {}
    for way, (_, longest, _) in WAYS.items():
        lengths = [n for n in LENGTHS if n <= longest]
        points = []
        for length in lengths:
            command = [sys.executable, __file__, "lengths", "--measure", way, str(length)]
            results = []
            for _ in range(rounds):
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                results.append([float(n) for n in done.stdout.split()])
            points.append([statistics.median(column) for column in zip(*results, strict=True)])
        seconds, megabytes = zip(*points, strict=True)
        found[way] = np.array(lengths), np.array(seconds), np.array(megabytes)
    return found


SHOWN = 1024, 4096, 16384, 65536


def tabulate(found):
    """Print time and memory at some lengths, as far as each way goes."""
    print(f"| tokens | {' | '.join(found)} |\n|---|{'---|' * len(found)}")
    for length in SHOWN:
        cells = [f"{length:,}"]
        for lengths, seconds, megabytes in found.values():
            at = np.flatnonzero(lengths == length)
            cells.append(cell(seconds[at[0]], megabytes[at[0]]) if at.size else "—")
        print(f"| {' | '.join(cells)} |")


def cell(seconds, megabytes):
    time_taken = f"{1e3 * seconds:.0f} ms" if seconds < 1.0 else f"{seconds:.2f} s"
    return time_taken if megabytes < SEEN else f"{time_taken}, {megabytes:,.0f} MB"


def exponent(lengths, values):
    """Return the slope of log value against log length over the last four points."""
    return float(np.polyfit(np.log(lengths[-4:]), np.log(values[-4:]), 1)[0])


def draw_curves(found):
    figure = Figure(figsize=(9.6, 4.2), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2)
    for way, (lengths, seconds, megabytes) in found.items():
        colour = WAYS[way][2]
        powers = exponent(lengths, seconds), exponent(lengths, megabytes)
        for axes, values, power in zip((left, right), (seconds, megabytes), powers, strict=True):
            seen = values > SEEN if axes is right else values > 0
            label = f"{way}: $n^{{{power:.2f}}}$"
            axes.loglog(lengths[seen], values[seen], "o-", ms=3.5, color=colour, label=label)
    for axes, title in (
        (left, "seconds, forward and backward"),
        (right, "megabytes beside the inputs"),
    ):
        axes.set_title(title)
        axes.set_xlabel("tokens n")
        axes.set_xscale("log", base=2)
        axes.grid(True, color="#e5e5e5")
        axes.legend(frameon=False, fontsize=8)
    figure.savefig(IMAGES / "long-sequences.png")


PATTERNS = {
    "causal()": masks.causal(),
    "causal() & sliding_window(12)": masks.causal() & masks.sliding_window(12),
    "longformer(window=6, global_positions=[0, 20])": masks.longformer(6, global_positions=[0, 20]),
    "sparse_transformer(8, kind='strided')": masks.sparse_transformer(8, kind="strided"),
    "sparse_transformer(8, kind='fixed', c=2)": masks.sparse_transformer(8, kind="fixed", c=2),
    "big_bird(24, 2, num_random=2, num_global=1)": masks.big_bird(
        24, 2, num_random=2, num_global=1
    ),
}


def draw_patterns():
    figure = Figure(figsize=(9.6, 6.4), dpi=150, layout="constrained")
    grid = figure.subplots(2, 3).reshape(-1)
    for axes, (name, mask) in zip(grid, PATTERNS.items(), strict=True):
        axes.imshow(mask.dense(48, 48), cmap="Greys", vmin=0, vmax=1.6, interpolation="nearest")
        axes.set_title(name, fontsize=7.5, family="monospace")
        axes.set_xticks([])
        axes.set_yticks([])
    grid[0].set_ylabel("query")
    grid[0].set_xlabel("key")
    figure.savefig(IMAGES / "long-sequences-masks.png")


# ---------------------------------------------------------------- what a pattern costs

LONG = 8192
COSTS = {
    "no mask": None,
    "causal()": masks.causal(),
    "longformer(257)": masks.longformer(257),
    "longformer(257, [0])": masks.longformer(257, [0]),
    "big_bird(128)": masks.big_bird(LONG // 64),
    "big_bird(32, block_size=256)": masks.big_bird(LONG // 256, block_size=256),
    "sparse_transformer(90)": masks.sparse_transformer(90),
    "sparse_transformer(1024, part='second')": masks.sparse_transformer(1024, part="second"),
    "causal() & sliding_window(256)": masks.causal() & masks.sliding_window(256),
}


def costs(rounds):
    """Print for each pattern its share of pairs and of tiles, and its time beside no mask's."""
    print("| pattern | pairs | tiles | time |\n|---|---|---|---|")
    found = {name: [] for name in COSTS}
    for _ in range(rounds):
        for name in COSTS:
            command = [sys.executable, __file__, "patterns", "--pattern", name]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found[name].append(float(done.stdout.split()[0]))
    whole = statistics.median(found["no mask"])
    for name, mask in COSTS.items():
        pairs, tiles = (1.0, 1.0) if mask is None else shares(mask)
        time_share = statistics.median(found[name]) / whole
        shown = name if mask is None else f"`{name}`"
        cells = (f"{100 * share:.1f} %" for share in (pairs, tiles, time_share))
        print(f"| {shown} | {' | '.join(cells)} |")


def shares(mask):
    """Return which part of all pairs a mask lets through, and of all 256 x 256 tiles it visits."""
    whole, width = masks.Span(0, LONG, LONG), 256
    pairs = tiles = 0
    for start in range(0, LONG, width):
        rows = masks.Span(start, start + width, LONG)
        codes = mask.coverage((), rows, whole, width)
        pairs += int(mask.holds((), rows, whole).sum())
        tiles += sum(
            mask.tile((), rows, masks.Span(width * at, width * (at + 1), LONG)) is not masks.EMPTY
            for at in np.flatnonzero(codes)
        )
    return pairs / LONG**2, tiles / (LONG // width) ** 2


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", choices=("lengths", "patterns"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--pattern", choices=COSTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        way, length = arguments.measure
        measure(WAYS[way][0], int(length))
        return
    if arguments.pattern:
        measure(attention(COSTS[arguments.pattern], "tiled"), LONG)
        return
    IMAGES.mkdir(parents=True, exist_ok=True)
    if arguments.table == "lengths":
        found = curves(arguments.rounds)
        tabulate(found)
        draw_curves(found)
    else:
        draw_patterns()
        costs(arguments.rounds)


if __name__ == "__main__":
    main()
