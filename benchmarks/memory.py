"""What keeping freed memory gains: one training step with and without it, in turn.

    python benchmarks/memory.py [--rounds 5] [--sizes nano baby]

Each measurement is a process of its own, since the setting is made once at import; the two
kinds alternate, so that a machine whose speed drifts favours neither.
"""

import argparse
import statistics

from _common import Table, in_process, machine, medians, numbers, ratio, times_of
from _gpt import NAMES, npformer_step


def measure(size):
    """Print the median milliseconds of a training step, and its page faults."""
    import resource  # not on Windows

    step = npformer_step(size)
    step()
    step()
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    times = times_of(step, 1.0, at_most=30)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
    print(1e3 * statistics.median(times), faults / len(times))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", nargs="+", choices=NAMES, default=["nano", "baby"])
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure)
        return
    print(f"{machine()}; medians of {arguments.rounds} rounds\n")
    table = Table("training step", "given back", "faults", "kept", "faults", "given back / kept")
    for size in arguments.sizes:
        found = {"0": [], "1": []}
        for _ in range(arguments.rounds):
            for kept, results in found.items():
                environment = {"NPFORMER_KEEP_MEMORY": kept}
                text = in_process(__file__, "--measure", size, environment=environment)
                results.append(numbers(text))
        cells = [NAMES[size]]
        for results in found.values():
            ms, faults = medians(results)
            cells += [f"{ms:.1f} ms", f"{faults:.0f}"]
        gain = ratio((x[0] for x in found["0"]), (x[0] for x in found["1"]))
        table.add(*cells, f"{gain:.2f}")
    table.print()


if __name__ == "__main__":
    main()
