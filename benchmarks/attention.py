"""Attention on long sequences: against PyTorch's fused kernel, and a sliding window by itself.

    python benchmarks/attention.py [--rounds 3] [--lengths 1024 4096 16384] [--windows 16384 65536]

Each measurement is a process of its own, and the two sides alternate, so that a machine whose
speed drifts favours neither, and no thread of one is still waiting for work while the other
runs. A process makes its arrays, runs once to warm up, and gives the median of several passes,
forward and backward, and how far its memory rose above that of its inputs.

PyTorch is needed for its side alone: pip install torch
"""

import argparse
import importlib.util
import os
import platform
import resource
import statistics
import subprocess
import sys
import time

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
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    both_ways()
    times = []
    began = time.perf_counter()
    while len(times) < 3 or (time.perf_counter() - began < 1.0 and len(times) < 30):
        start = time.perf_counter()
        both_ways()
        times.append(time.perf_counter() - start)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, kilobytes elsewhere
    print(statistics.median(times), (after - before) / unit)


def measured(side, kind, length):
    command = [sys.executable, __file__, "--measure", side, kind, str(length)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return tuple(float(number) for number in done.stdout.split())


def median(results):
    return tuple(statistics.median(column) for column in zip(*results, strict=True))


def compare(lengths, rounds):
    sides = ["npformer"]
    if importlib.util.find_spec("torch"):
        sides.append("torch")
    else:
        print("PyTorch is not installed, so its side is left out: pip install torch\n")
    print(f"Causal, {HEADS} heads x {WIDTH}, float32, forward and backward")
    print(f"{'tokens':>8} {'npformer':>20} {'PyTorch':>20}   times as fast")
    for length in lengths:
        found = {side: [] for side in sides}
        for _ in range(rounds):
            for side in sides:
                found[side].append(measured(side, "causal", length))
        cells = {side: "{:9.3f} s {:5.0f} MB".format(*median(found[side])) for side in sides}
        ratio = ""
        if "torch" in found:
            pairs = zip(found["torch"], found["npformer"], strict=True)
            ratio = f"{statistics.median(t[0] / n[0] for t, n in pairs):13.2f}"
        print(
            f"{length:8,} {cells['npformer']:>20} {cells.get('torch', ''):>20} {ratio}", flush=True
        )


def windows(lengths, rounds):
    print(f"\nSliding window of {WINDOW}, {HEADS} heads x {WIDTH}, float32, forward and backward")
    print(f"{'tokens':>8} {'npformer':>20}   times the time of the row above")
    above = None
    for length in lengths:
        found = median([measured("npformer", "window", length) for _ in range(rounds)])
        ratio = "" if above is None else f"{found[0] / above:10.2f}"
        print(f"{length:8,} {'{:9.3f} s {:5.0f} MB'.format(*found):>20} {ratio}", flush=True)
        above = found[0]


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
    import numpy as np

    import npformer

    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
        f"{npformer.num_threads()} threads; NumPy {np.__version__}; medians of "
        f"{arguments.rounds} rounds\n"
    )
    if arguments.lengths:
        compare(arguments.lengths, arguments.rounds)
    if arguments.windows:
        windows(arguments.windows, arguments.rounds)


if __name__ == "__main__":
    main()
