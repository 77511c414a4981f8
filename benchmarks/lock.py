"""What Python's lock costs two threads: half of a batch forward and backward, in four ways.

    python benchmarks/lock.py [--rounds 5] [--size nano]

Two workers of a `Trainer` each take half of a batch. Here such a half runs alone in a process; in
two processes at once, which share the machine but no lock; and on two threads of one process,
which take turns at the lock after every call of NumPy. What threads take longer than processes is
the lock's part. Last is a whole step of two workers, which also waits for the slower half, adds
gradients, and has the optimizer's work. BLAS has one thread in all of them. The ways take turns.
"""

import argparse
import json
import statistics
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from _common import Table, Worker, at_least_one, machine, times_of
from _gpt import NAMES, batch_of, model_of, npformer_step

WAYS = {
    "half of the batch, alone": ("half", 1),
    "a half in each of two processes": ("half", 2),
    "a half on each of two threads": ("threads", 1),
    "a step with two workers": ("step", 1),
}
SECONDS = 1.0
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def half(size):
    """Return a function that takes half of the batch forward and backward."""
    from npformer import Run

    model, (ids, targets) = model_of(size), batch_of(size)
    rows = len(ids) // 2

    def work():
        model.zero_grad()
        _, saved = model.loss(ids[:rows], targets[:rows], run=Run(np.random.default_rng(0)))
        model.loss_backward(saved, 0.5)

    return work


def serve(kind, size):
    """Answer each line with the median seconds that the work took."""
    works = {
        "half": lambda: [half(size)],
        "threads": lambda: [half(size), half(size)],
        "step": lambda: [npformer_step(size, workers=2)],
    }[kind]()
    with ThreadPoolExecutor(len(works)) as pool:
        for _ in sys.stdin:
            times = list(pool.map(lambda work: times_of(work, SECONDS), works))
            print(json.dumps(statistics.mean(map(statistics.median, times))), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=at_least_one, default=5)
    parser.add_argument("--size", choices=NAMES, default="nano")
    parser.add_argument("--side", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        serve(*arguments.side)
        return
    workers = {
        way: [
            Worker(__file__, "--side", kind, arguments.size, environment=ENVIRONMENT)
            for _ in range(count)
        ]
        for way, (kind, count) in WAYS.items()
    }
    found = {way: [] for way in workers}
    with ThreadPoolExecutor(2) as pool:
        for turn in range(arguments.rounds + 1):
            for way, processes in workers.items():
                answers = pool.map(lambda process: process.ask("go"), processes)
                took = statistics.mean(answers)
                if turn:  # the first is to warm up
                    found[way].append(1e3 * took)
    for processes in workers.values():
        for process in processes:
            process.end()
    print(f"{machine()}; {NAMES[arguments.size]}; medians of {arguments.rounds} rounds\n")
    table = Table("", "median", "fastest round")
    for way, times in found.items():
        table.add(way, f"{statistics.median(times):.1f} ms", f"{min(times):.1f} ms")
    table.print()


if __name__ == "__main__":
    main()
