"""What keeping freed memory gains: one training step with and without it, in turn.

    python benchmarks/memory.py [--rounds 5]

Each measurement is a process of its own, since the setting is made once at import; the two
kinds alternate, so that a machine whose speed drifts favours neither.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

import numpy as np

# name: (vocabulary, context, width, heads, layers, batch, steps)
SIZES = {
    "nanoGPT's CPU recipe": (65, 64, 128, 4, 4, 12, 30),
    "6 layers of 384": (65, 256, 384, 6, 6, 8, 3),
}


def measure(size):
    """Print the median milliseconds of a training step, and its page faults."""
    import resource

    from npformer.models import GPT, GPTConfig
    from npformer.training import AdamW, Trainer

    vocab, context, width, heads, layers, batch, steps = SIZES[size]
    rng = np.random.default_rng(0)
    model = GPT(GPTConfig(vocab, context, width, heads, layers, bias=False), rng=rng)
    trainer = Trainer(model, AdamW(model.parameters()), clip_norm=1.0, rng=rng)
    ids, targets = rng.integers(0, vocab, (2, batch, context))
    trainer.step(ids, targets)
    trainer.step(ids, targets)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    times = []
    for _ in range(steps):
        start = time.perf_counter()
        trainer.step(ids, targets)
        times.append(time.perf_counter() - start)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
    print(1e3 * statistics.median(times), faults / steps)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure)
        return
    print(f"numpy {np.__version__}, {os.cpu_count()} cores; medians of {arguments.rounds} rounds")
    print(f"{'training step':24} {'given back':>22} {'kept':>22}   given back / kept")
    for size in SIZES:
        found = {"0": [], "1": []}
        for _ in range(arguments.rounds):
            for kept, results in found.items():
                environment = {**os.environ, "NPFORMER_KEEP_MEMORY": kept}
                command = [sys.executable, __file__, "--measure", size]
                done = subprocess.run(
                    command, env=environment, check=True, capture_output=True, text=True
                )
                results.append([float(n) for n in done.stdout.split()])
        columns = []
        for results in found.values():
            ms, faults = (statistics.median(column) for column in zip(*results, strict=True))
            columns.append(f"{ms:8.1f} ms {faults:7.0f} faults")
        pairs = zip(found["0"], found["1"], strict=True)
        ratio = statistics.median(given[0] / kept[0] for given, kept in pairs)
        print(f"{size:24} {columns[0]:>22} {columns[1]:>22}   {ratio:.2f}")


if __name__ == "__main__":
    main()
