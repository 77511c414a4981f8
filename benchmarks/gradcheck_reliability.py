"""How far `npformer.gradcheck` can be relied on: no false alarm, no miss, the right diagnosis.

    python benchmarks/gradcheck_reliability.py [--seeds 200] [--only WORDS ...]

False alarms: every example of the catalogue with fresh inputs, weights and directions for each
seed, by each way of checking, and targets at hard points: kinks and ties, a wide dynamic range, a
constant in the output, float32 in fast mode. Stacks and whole models have fifty parameters or more,
all of them of layers that are checked by themselves: a tenth of the seeds. Misses: every wrong
gradient of tests/verify, at a tenth of the seeds, and each hard target with its wrong twin.

Two hundred seeds take four hours of one core, `--seeds 10` a quarter of an hour. Exit status 0
means no false alarm, no miss, no wrong family, and nothing undecided that float64 can decide. What
learned too little elsewhere is counted and listed as inconclusive: float32 tells little of a small
gradient in a deep model, and neither do the first weights of a whole model of its queries and keys.
"""

import argparse
import collections
import math
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import numpy as np
from verify.wrong_gradients import NAMES, WRONG, anywhere, check

import npformer.functional as F
from npformer import catalogue, gradcheck, models

# way: (share of the seeds, dtype, options of gradcheck)
WAYS = {
    "every entry": (1.0, np.float64, {}),
    "random directions": (0.25, np.float64, {"mode": "fast"}),
    "central differences": (0.1, np.float64, {"method": "central", "mode": "fast"}),
    "central, every entry": (0.05, np.float64, {"method": "central"}),
    "float32": (0.05, np.float32, {}),
}
# After a way's name: of what is composed of many layers, at SHARE of its seeds.
COMPOSED, SHARE = ", models", 0.1
MANY_LAYERS = {*models.__all__, "Encoder", "Decoder", "Checkpoint"}

HARD = "hard points"
FAULTS = "false alarm", "undecided", "miss", "wrong family"

COLUMNS = (
    *("seeds", "checks", "tensors"),
    *("false alarms", "undecided", "inconclusive", "misses", "wrong family"),
)


class Tally:
    """What one seed gave, or several."""

    def __init__(self):
        self.counts = collections.Counter()
        self.complaints = collections.Counter()
        self.exact, self.within = 0.0, 0.0  # worst complex step; worst central against its bound
        self.seconds = 0.0

    def add(self, other):
        """Join what another seed gave."""
        self.counts += other.counts
        self.complaints += other.complaints
        self.exact = max(self.exact, other.exact)
        self.within = max(self.within, other.within)
        self.seconds += other.seconds

    def note(self, what, name, report):
        """Count a fault, and keep what is needed to see it again."""
        self.counts[what] += 1
        why = ", ".join(sorted(report.families))
        complaint = f"{what}: {name} ({report.verdict}: {why}; seed {report.seed})"
        self.complaints[complaint] += 1
        print(complaint, file=sys.stderr, flush=True)  # at once, for the run is long


def right(way, seed):
    """Check the catalogue's examples, single ones or composed: what is not a pass is noted."""
    _, dtype, options = WAYS[way.removesuffix(COMPOSED)]
    tally, start = Tally(), time.perf_counter()
    for example in catalogue.examples(seed, dtype):
        if (example.subject in MANY_LAYERS) != way.endswith(COMPOSED):
            continue
        report = gradcheck(
            example.target,
            *example.inputs,
            options=example.options,
            run=example.run(),
            seed=seed,
            **options,
        )
        tally.counts["checks"] += 1
        if report.verdict == "fail":
            tally.note("false alarm", example.name, report)
        elif not report.ok:
            certain = dtype is np.float64 and not way.endswith(COMPOSED)
            tally.note("undecided" if certain else "inconclusive", example.name, report)
        for entry in report.entries:
            tally.counts["tensors"] += 1
            if entry.complex_step is not None:
                tally.exact = max(tally.exact, entry.complex_step.error)
            tally.within = max(tally.within, central_against_bound(entry))
    tally.seconds = time.perf_counter() - start
    return tally


def central_against_bound(entry):
    """Return the error of a central difference, relative to what it said of itself."""
    central, best = entry.central_difference, entry.complex_step
    if central is None or not math.isfinite(central.bound) or central.bound == 0.0:
        return 0.0
    truth = entry.analytic if best is None else best.value
    return abs(central.value - truth) / central.bound


def wrong(_, seed):
    """Check every wrong gradient: whatever is not refused, or not by its name, is a fault."""
    tally, start = Tally(), time.perf_counter()
    cases = [*WRONG.items(), *((f"{name}, spoilt", anywhere(name, seed)) for name in NAMES)]
    for name, case in cases:
        report = check(case, seed, wrong=True)
        tally.counts["checks"] += 1
        tally.counts["tensors"] += len(report.entries)
        if report.verdict != "fail":
            tally.note("miss", name, report)
        elif not report.families & case.families:
            tally.note("wrong family", name, report)
        if name in WRONG and not check(case, seed, wrong=False).ok:
            tally.note("false alarm", name, check(case, seed, wrong=False))
    tally.seconds = time.perf_counter() - start
    return tally


def _zeros(rng, count, *shape):
    x = rng.standard_normal(shape)
    x.flat[rng.choice(x.size, count, replace=False)] = 0.0
    return x


def _tied(rng):
    x = rng.standard_normal((4, 5))
    x[1, np.argsort(x[1])[-1]] = x[1, np.argsort(x[1])[-2]]
    return x


def _maximum(x):
    return x.max(-1), (x, np.argmax(x, -1))


def _maximum_backward(dy, saved):
    x, at = saved
    dx = np.zeros_like(x)
    np.put_along_axis(dx, at[:, None], dy[:, None], -1)
    return dx


def hard_targets(rng):
    """Yield name, pair, a wrong change of its gradient, the point, and whether it must pass."""
    sine = lambda x: (np.sin(x), x), lambda dy, x: dy * np.cos(x)
    exp = lambda x: (np.exp(x), x), lambda dy, x: dy * np.exp(x)
    large = lambda x: (1e10 + np.sin(x), x), sine[1]
    relu = F.relu, F.relu_backward
    maximum = _maximum, _maximum_backward
    wide = rng.standard_normal((8, 5)) - 30.0 * (np.arange(8) < 4)[:, None]
    big = rng.standard_normal((100, 300)).astype(np.float32)
    big[50, 50] = 0.3

    def thousandth(g):
        return g * 1.001

    def small_rows(g):
        return g * np.where(np.arange(len(g)) < 4, 2.0, 1.0)[:, None]

    def one_entry(g):
        g = g.copy()
        g[50, 50] *= 1.2
        return g

    for count in (1, 3, 8):
        yield f"relu, {count} zeros of 20", relu, thousandth, _zeros(rng, count, 4, 5), True
    for count in (1, 9, 30):
        yield f"relu, {count} zeros of 3000", relu, thousandth, _zeros(rng, count, 60, 50), True
    yield "relu, rounded", relu, thousandth, np.round(rng.standard_normal((60, 50)), 1), True
    yield "maximum, a tie", maximum, thousandth, _tied(rng), True
    rounded = np.round(rng.standard_normal((4, 5)))
    yield "maximum, rounded", maximum, thousandth, rounded, False
    yield "dynamic range", exp, small_rows, wide, True
    yield "constant in the output", large, thousandth, rng.standard_normal((4, 5)), True
    yield "float32, fast", sine, one_entry, big, True


def hard(_, seed):
    """Check each hard target and its wrong twin, in full and in fast mode."""
    tally, start = Tally(), time.perf_counter()
    for name, (forward, backward), spoil, x, must_pass in hard_targets(np.random.default_rng(seed)):
        for mode in ("full", "fast") if x.size <= 100 else ("fast",):
            report = gradcheck((forward, backward), x, seed=seed, mode=mode)
            twin = forward, lambda dy, saved, b=backward, f=spoil: f(b(dy, saved))
            refused = gradcheck(twin, x, seed=seed, mode=mode)
            tally.counts["checks"] += 2
            tally.counts["tensors"] += 2
            if report.verdict == "fail":
                tally.note("false alarm", f"{name}, {mode}", report)
            elif must_pass and not report.ok:
                tally.note("undecided", f"{name}, {mode}", report)
            if refused.ok or (must_pass and refused.verdict != "fail"):
                tally.note("miss", f"{name}, {mode}", refused)
    tally.seconds = time.perf_counter() - start
    return tally


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=200, help="how many (200)")
    parser.add_argument("--first", type=int, default=0, help="of them, to run a share (0)")
    parser.add_argument(
        "--only", nargs="+", metavar="WORDS", help="lines of the table whose names start so"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    first = arguments.first
    jobs = {HARD: (hard, arguments.seeds)}
    for way, (share, *_) in WAYS.items():
        jobs[way] = right, math.ceil(share * arguments.seeds)
        jobs[way + COMPOSED] = right, math.ceil(SHARE * share * arguments.seeds)
    jobs["wrong gradients"] = wrong, math.ceil(arguments.seeds / 10)
    if arguments.only:
        jobs = {way: job for way, job in jobs.items() if way.startswith(tuple(arguments.only))}
        if not jobs:
            parser.error(f"--only {arguments.only} fits none of {', '.join(WAYS)}, {HARD}, wrong")
    columns = "".join(f"{column:>13}" for column in COLUMNS)
    print(f"{'':28}{columns}  complex step  central/bound     time")
    complaints, start = collections.Counter(), time.perf_counter()
    with ProcessPoolExecutor(arguments.workers) as pool:
        for way, (job, seeds) in jobs.items():
            total = Tally()
            for tally in pool.map(job, [way] * seeds, range(first, first + seeds)):
                total.add(tally)
            kinds = ("checks", "tensors", *FAULTS[:2], "inconclusive", *FAULTS[2:])
            counts = "".join(f"{total.counts[kind]:13}" for kind in kinds)
            found = f"{total.exact:14.1e}{total.within:15.2f}" if job is right else " " * 29
            print(f"{way:28}{seeds:13}{counts}{found}{total.seconds:7.0f} s", flush=True)
            complaints += total.complaints
    for complaint, times in sorted(complaints.items()):
        print(f"{times:4}  {complaint}")
    print(f"{time.perf_counter() - start:.0f} s; time in the table is that of all workers together")
    return 1 if any(complaint.startswith(FAULTS) for complaint in complaints) else 0


if __name__ == "__main__":
    sys.exit(main())
