"""What activation checkpoints spare a training step of SmolLM2's size, and what they cost.

    python benchmarks/checkpointing.py [--rows 2 8] [--context 256] [--rounds 2]

A GPT with the sizes of SmolLM2-135M (random weights: nothing is downloaded), forward, backward and
AdamW in float32, in a process of its own for each measurement: the most memory that it has held,
and the seconds of its second step. Weights, gradients and the optimizer's two running means, four
times the weights, are the floor of both sides.
"""

import argparse
import time

from _common import Table, at_least_one, in_process, machine, medians, numbers, peak_memory, ratio

SIZES = {
    "vocab_size": 49152,
    "d_model": 576,
    "num_heads": 9,
    "num_kv_heads": 3,
    "num_layers": 30,
    "d_ff": 1536,
    "activation": "swiglu",
    "norm": "rms",
    "position": "rotary",
    "bias": False,
    "tie_embeddings": True,
}


def measure(kept, rows, context):
    """Print the seconds of the second step, and the megabytes of the process at its peak."""
    import numpy as np

    from npformer.models import GPT, GPTConfig
    from npformer.training import AdamW

    rng = np.random.default_rng(0)
    config = GPTConfig(**SIZES, max_len=context, checkpoint=not kept)
    model = GPT(config, rng=rng)
    optimizer = AdamW(model.parameters())
    ids, targets = rng.integers(0, config.vocab_size, (2, rows, context))
    for _ in range(2):
        start = time.perf_counter()
        _, saved = model.loss(ids, targets)
        model.loss_backward(saved)
        optimizer.step()
        model.zero_grad()
        taken = time.perf_counter() - start
    print(taken, peak_memory())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=at_least_one, nargs="+", default=[2, 8])
    parser.add_argument("--context", type=at_least_one, default=256)
    parser.add_argument("--rounds", type=at_least_one, default=2)
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure is not None:
        measure(bool(arguments.measure), arguments.rows[0], arguments.context)
        return
    print(f"{machine()}; medians of {arguments.rounds} rounds\n")
    sides = "saved", "with checkpoints"
    table = Table("tokens a step", *sides, "times the memory", "times the time")
    for rows in arguments.rows:
        found = {True: [], False: []}
        for _ in range(arguments.rounds):
            for kept, results in found.items():
                sizes = ("--rows", rows, "--context", arguments.context)
                results.append(numbers(in_process(__file__, "--measure", int(kept), *sizes)))
        cells = [f"{rows} × {arguments.context}"]
        for results in found.values():
            seconds, megabytes = medians(results)
            cells.append(f"{seconds:.1f} s, {megabytes:,.0f} MB")
        less = ratio((x[1] for x in found[False]), (x[1] for x in found[True]))
        more = ratio((x[0] for x in found[False]), (x[0] for x in found[True]))
        table.add(*cells, f"{less:.2f}", f"{more:.2f}")
    table.print()


if __name__ == "__main__":
    main()
