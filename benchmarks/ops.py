"""Operations and layers against PyTorch, eager: each forward and backward, float32.

    python benchmarks/ops.py [--rounds 3] [--sizes baby gpt2] [--only NAME ...]

First each is run once on both sides, and output and gradients are compared. Then the sides take
turns, each turn a process of its own, since the threads of two libraries in one process disturb
each other. Shown are medians over the rounds of a turn's median; a ratio is the median of the
ratios within a round. B T tokens, D wide, H heads, F in between, V classes are those of a baby GPT
and of GPT-2 small.

Where matmul is most of the work, the share of the machine's own matmul speed is shown. FLOPs, with
2 for each multiply-add and 3 products for one of the forward pass, N = B T:

    linear 6 N D F, linear_cross_entropy 6 N D V, attention 6 B T (T + 1) D (the pairs that attend),
    MultiHeadAttention 24 N D^2 + attention, FeedForward 12 N D F, the block both of these

PyTorch is needed for its side alone: pip install torch
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path

import numpy as np
from _common import Table, in_process, installed, machine, ratio, sgemm_peak, times_of
from _ops import SIZES, cases, our_pass, torch_pass

PASSES = {"npformer": our_pass, "torch": torch_pass}
# PyTorch's memory is left as it would be without npformer.
ENVIRONMENT = {"npformer": {}, "torch": {"NPFORMER_KEEP_MEMORY": "0"}}
TOLERANCE = 2e-4  # largest difference allowed, in units of the array's largest entry,
FLOOR = 1e-2  # or of this much of the largest of all arrays: the gradient of a bias of keys is 0


def chosen(size, names):
    """Return the cases of a size that are asked for."""
    return {name: case for name, case in cases(SIZES[size]).items() if name in names}


def measure(side, size, names, seconds):
    """Print the median seconds of each case, in JSON."""
    found = {}
    for name, case in chosen(size, names).items():
        both_ways = PASSES[side](case)
        both_ways()
        found[name] = statistics.median(times_of(both_ways, seconds))
    print(json.dumps(found))


def write(side, size, names, path):
    """Write the output and the gradients of each case to a file."""
    found = {}
    for name, case in chosen(size, names).items():
        y, gradients = PASSES[side](case)()
        found |= {f"{name}: output": y}
        found |= {f"{name}: gradient of {key}": x for key, x in gradients.items()}
    np.savez(path, **found)


def differences(size, sides, names):
    """Return how far the sides are apart, by case; stop where that is too far."""
    worst = dict.fromkeys(names, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        paths = {side: Path(folder, f"{side}.npz") for side in sides}
        for side, path in paths.items():
            in_process(__file__, "--side", side, size, "--write", path, "--only", *names)
        with np.load(paths["npformer"]) as own, np.load(paths["torch"]) as other:
            if set(own) != set(other):
                raise SystemExit(f"not on both sides: {sorted(set(own) ^ set(other))}")
            top = {what: float(np.max(np.abs(other[what]))) for what in other}
            for what, largest in top.items():
                name = what.rpartition(": ")[0]
                largest = max(
                    largest, FLOOR * max(top[x] for x in top if x.startswith(f"{name}: "))
                )
                a, b = own[what], other[what]
                if a.shape != b.shape:
                    raise SystemExit(f"{what}: npformer has {a.shape}, PyTorch {b.shape}")
                apart = float(np.max(np.abs(a - b))) / largest
                if not apart <= TOLERANCE:
                    raise SystemExit(f"{what}: the sides are apart by {apart:.1e}")
                worst[name] = max(worst[name], apart)
    return worst


def compare(size, sides, names, rounds, seconds, peak):
    B, T, D, H, F, V = SIZES[size]
    print(f"{size}: B = {B}, T = {T}, D = {D}, H = {H}, F = {F}, V = {V:,}\n")
    apart = differences(size, sides, names) if len(sides) == 2 else {}
    found = {side: [] for side in sides}
    for _ in range(rounds):
        for side, results in found.items():
            command = ("--side", side, size, "--seconds", seconds, "--only", *names)
            text = in_process(__file__, *command, environment=ENVIRONMENT[side])
            results.append(json.loads(text.splitlines()[-1]))
    columns = [f"{side}{what}" for side in sides for what in ("", ", of the peak")]
    table = Table("forward and backward", *columns, "ratio", "apart by")
    for name, case in chosen(size, names).items():
        cells = [name]
        for results in found.values():
            median = statistics.median(result[name] for result in results)
            share = f"{100 * case.flops / median / peak:.0f} %" if case.flops else ""
            cells += [f"{1e3 * median:.2f} ms", share]
        if apart:
            times = ratio(*([result[name] for result in found[x]] for x in ("torch", "npformer")))
            cells += [f"{times:.2f}", f"{apart[name]:.0e}"]
        table.add(*cells, *([] if apart else ["", ""]))
    table.print()


def main():
    names = list(cases(SIZES["tiny"]))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["baby", "gpt2"])
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--seconds", type=float, default=0.5, help="of an operation's turn")
    parser.add_argument("--side", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--write", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        write(*arguments.side, arguments.only, arguments.write)
        return
    if arguments.side:
        measure(*arguments.side, arguments.only, arguments.seconds)
        return
    sides = ["npformer", *installed(["torch"])]
    peak = sgemm_peak()
    print(
        f"{machine()}; float32 matmul at {peak / 1e9:,.0f} GFLOP/s; medians of "
        f"{arguments.rounds} rounds\n"
    )
    for size in arguments.sizes:
        compare(size, sides, arguments.only, arguments.rounds, arguments.seconds, peak)


if __name__ == "__main__":
    main()
