"""Measure and draw what docs/long-sequences.md says; rewrites docs/images/long-sequences*.png.

    python docs/scripts/long_sequences.py

Needs matplotlib (pip install 'npformer[cli,fast]'). The page's tables are printed. Takes some
minutes. Each point is a process of its own: the median of several passes, forward and backward,
after one to warm up, and how far the process's memory rose above that of its inputs.
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
LENGTHS = [2**n for n in range(9, 17)]


def measure(way, length):
    """Print the median seconds of a pass, and the megabytes it took beside its inputs."""
    both_ways = WAYS[way][0]
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
            command = [sys.executable, __file__, "--measure", way, str(length)]
            results = []
            for _ in range(rounds):
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                results.append([float(n) for n in done.stdout.split()])
            points.append([statistics.median(column) for column in zip(*results, strict=True)])
            print(f"{way:20} {length:7,} {points[-1][0]:9.4f} s {points[-1][1]:7.0f} MB", flush=True)
        seconds, megabytes = zip(*points, strict=True)
        found[way] = np.array(lengths), np.array(seconds), np.array(megabytes)
    return found


def exponent(lengths, values):
    """Return the slope of log value against log length over the last four points."""
    return float(np.polyfit(np.log(lengths[-4:]), np.log(values[-4:]), 1)[0])


def draw_curves(found):
    figure = Figure(figsize=(9.6, 4.2), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2)
    print(f"\n{'':20} time grows as   memory grows as")
    for way, (lengths, seconds, megabytes) in found.items():
        colour = WAYS[way][2]
        powers = exponent(lengths, seconds), exponent(lengths, megabytes)
        print(f"{way:20} n^{powers[0]:.2f}          n^{powers[1]:.2f}")
        for axes, values, power in zip((left, right), (seconds, megabytes), powers, strict=True):
            axes.loglog(
                lengths, values, "o-", ms=3.5, color=colour, label=f"{way}: $n^{{{power:.2f}}}$"
            )
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
    "longformer(window=6, global_positions=[0, 20])": masks.longformer(
        6, global_positions=[0, 20]
    ),
    "sparse_transformer(8, kind='strided')": masks.sparse_transformer(8, kind="strided"),
    "sparse_transformer(8, kind='fixed')": masks.sparse_transformer(8, kind="fixed"),
}


def draw_patterns():
    figure = Figure(figsize=(9.6, 6.4), dpi=150, layout="constrained")
    grid = figure.subplots(2, 3).reshape(-1)
    patterns = {**PATTERNS, "big_bird(8, 6, seed=0)": big_bird()}
    for axes, (name, mask) in zip(grid, patterns.items(), strict=True):
        axes.imshow(mask.dense(48, 48), cmap="Greys", vmin=0, vmax=1.6, interpolation="nearest")
        axes.set_title(name, fontsize=7.5, family="monospace")
        axes.set_xticks([])
        axes.set_yticks([])
    grid[0].set_ylabel("query")
    grid[0].set_xlabel("key")
    figure.savefig(IMAGES / "long-sequences-masks.png")


def big_bird():
    return masks.big_bird(8, block_size=6, num_random=1, window_blocks=3, num_global=1, seed=0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure[0], int(arguments.measure[1]))
        return
    IMAGES.mkdir(parents=True, exist_ok=True)
    draw_patterns()
    draw_curves(curves(arguments.rounds))


if __name__ == "__main__":
    main()
