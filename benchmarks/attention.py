"""Attention on long sequences: against PyTorch's fused kernel, and a sliding window by itself.

    python benchmarks/attention.py [--rounds 3] [--lengths 1024 4096 16384] [--windows 16384 65536]

Each measurement is a process of its own, and the two sides alternate, so that a machine whose
speed drifts favours neither, and no thread of one is still waiting for work while the other
runs. A process makes its arrays, runs once to warm up, and gives the median of several passes,
forward and backward, and how far its memory rose above that of its inputs.

PyTorch is needed for its side alone: pip install torch
"""

import argparse
import statistics

from _common import (
    Table,
    in_process,
    installed,
    machine,
    medians,
    numbers,
    peak_memory,
    ratio,
    sgemm_peak,
    times_of,
)

HEADS, WIDTH, WINDOW = 8, 64, 256


def inputs(length):
    """q, k, v and dy, (1, heads, length, width) of float32."""
    import numpy as np

    rng = np.random.default_rng(0)
    shape = (1, HEADS, length, WIDTH)
    return [rng.standard_normal(shape, dtype=np.float32) for _ in range(4)]


def npformer_pass(kind, length):
    import npformer.functional as F
    from npformer import masks

    q, k, v, dy = inputs(length)
    mask = {"causal": masks.causal(), "window": masks.sliding_window(WINDOW)}[kind]

    def both_ways():
        _, saved = F.attention(q, k, v, mask=mask)
        F.attention_backward(dy, saved)

    return both_ways


def torch_pass(kind, length):
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    assert kind == "causal"
    *qkv, dy = (torch.from_numpy(x) for x in inputs(length))

    def both_ways():
        for x in qkv:
            x.grad = None
            x.requires_grad_(True)
        scaled_dot_product_attention(*qkv, is_causal=True).backward(dy)

    return both_ways


def measure(side, kind, length):
    """Print the median seconds of a pass, and the megabytes it took beside its inputs."""
    both_ways = {"npformer": npformer_pass, "torch": torch_pass}[side](kind, length)
    before = peak_memory()
    both_ways()
    times = times_of(both_ways, 1.0, at_most=30)
    print(statistics.median(times), peak_memory() - before)


def measured(side, kind, length):
    return numbers(in_process(__file__, "--measure", side, kind, length))


def flops(length):
    """Return the arithmetic of the pairs that attend: 3 products for one, 2 for a multiply-add."""
    return 3 * 2 * HEADS * (length * (length + 1) // 2) * 2 * WIDTH


def compare(lengths, rounds, peak):
    sides = ["npformer", *installed(["torch"])]
    print(
        f"Causal, {HEADS} heads x {WIDTH}, float32, forward and backward. FLOPs, of the pairs that "
        f"attend: 6 H T (T + 1) K, with K = {WIDTH}\n"
    )
    names = [f"{side}{what}" for side in sides for what in ("", ", of the peak", ", memory")]
    table = Table("tokens", *names, "ratio")
    for length in lengths:
        found = {side: [] for side in sides}
        for _ in range(rounds):
            for side in sides:
                found[side].append(measured(side, "causal", length))
        cells = [f"{length:,}"]
        for results in found.values():
            seconds, memory = medians(results)
            share = flops(length) / seconds / peak
            cells += [f"{seconds:.3f} s", f"{100 * share:.0f} %", f"{memory:.0f} MB"]
        if "torch" in found:
            times = ratio((x[0] for x in found["torch"]), (x[0] for x in found["npformer"]))
        table.add(*cells, f"{times:.2f}" if "torch" in found else "")
    table.print()


def windows(lengths, rounds):
    print(f"Sliding window of {WINDOW}, {HEADS} heads x {WIDTH}, float32, forward and backward\n")
    table = Table("tokens", "npformer", "memory", "times the row above")
    above = None
    for length in lengths:
        seconds, memory = medians([measured("npformer", "window", length) for _ in range(rounds)])
        times = "" if above is None else f"{seconds / above:.2f}"
        table.add(f"{length:,}", f"{seconds:.3f} s", f"{memory:.0f} MB", times)
        above = seconds
    table.print()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lengths", type=int, nargs="*", default=[1024, 4096, 16384])
    parser.add_argument("--windows", type=int, nargs="*", default=[4096, 16384, 65536])
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        side, kind, length = arguments.measure
        measure(side, kind, int(length))
        return
    peak = sgemm_peak()
    print(
        f"{machine()}; float32 matmul at {peak / 1e9:,.0f} GFLOP/s; medians of "
        f"{arguments.rounds} rounds\n"
    )
    if arguments.lengths:
        compare(arguments.lengths, arguments.rounds, peak)
    if arguments.windows:
        windows(arguments.windows, arguments.rounds)


if __name__ == "__main__":
    main()
