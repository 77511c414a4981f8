"""Where the time of a training step goes: matmul, element-wise work, copies, Python.

    python benchmarks/profile_step.py [--size nano] [--top 25] [--clock cpu]

On one thread, all of it. npformer is imported twice, in processes that take turns: as it is, to
time whole steps; and rewritten (`_instrument`), so that every operator, NumPy function, array
method and store is timed by itself (`_recorder`, which says what counts as what). Python is what
remains of the step as it is: the interpreter, attributes, views, shapes, checks, the trainer.

The two take turns, step by step. What is shown is the mean of that quarter of these pairs of steps
that was fastest, which other work on the machine has disturbed least. The clock is that of the
thread, which stands still while other work has the processor; ``--clock wall`` is finer, for a
machine that has nothing else to do. What the clock adds to each timed call is measured and taken
off. What cannot be given back is the reuse of temporaries: NumPy computes ``a * b + c`` of large
arrays in the place of ``a * b``, but not where each part is timed.
"""

import argparse
import json
import linecache
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from _common import Table, Worker, blas, processor, sgemm_peak, special
from _gpt import FORMULA, NAMES, flops, npformer_step
from _instrument import install
from _recorder import KINDS, Recorder

THREADS = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "NPFORMER_NUM_THREADS": "1"}
CLOCKS = {"cpu": time.thread_time_ns, "wall": time.perf_counter_ns}
SMALL = 1024  # entries; a call on fewer is mostly NumPy's own overhead


def work(how, size, clock):
    """Take a step for each line on stdin, and answer with its time, and where it was spent."""
    clock = CLOCKS[clock]
    recorder = Recorder(clock)
    if how == "timed":
        install(recorder, "npformer")
    step = npformer_step(size)
    for _ in range(3):
        step()
    for line in sys.stdin:
        if line == "end\n":
            if how == "timed":
                last = {"correction": recorder.correction()}
            else:
                last = {"peak": sgemm_peak(1536, lambda: 1e-9 * clock()), "blas": blas()}
            print(json.dumps(last), flush=True)
            return
        recorder.take()
        start = clock()
        step()
        taken, records = clock() - start, recorder.take()
        rows = [(*recorder.sites[site], kind, *x) for (site, kind), x in records.items()]
        print(json.dumps({"ms": 1e-6 * taken, "rows": rows}), flush=True)


class Profile:
    """A step as measured from outside and from inside.

    Attributes
    ----------
    plain, timed : float
        Milliseconds of the step as it is, and with the instrument.
    rests : list of float
        Milliseconds of Python, by each of the pairs of steps.
    rows : list of (file, line, function, kind, calls, ms, entries, FLOPs)
        For each place in the source.
    calls, correction : float
        Timed calls a step, and the milliseconds that were taken off for them.
    peak : float
        FLOPs a second of one large product.
    blas : str
        NumPy's BLAS in these processes.
    """

    def __init__(self, size, seconds, clock):
        sides = [
            Worker(__file__, "--work", how, size, clock, environment=THREADS)
            for how in ("plain", "timed")
        ]
        pairs = [[side.ask("step") for side in sides]]  # answered when both have started
        began = time.perf_counter()
        while len(pairs) < 4 or time.perf_counter() - began < seconds:
            pairs.append([side.ask("step") for side in sides])
        ends = [side.ask("end") for side in sides]
        for side in sides:
            side.end()
        pairs.sort(key=lambda pair: pair[0]["ms"] + pair[1]["ms"])
        fastest = pairs[: max(1, len(pairs) // 4)]
        self.plain, self.timed = (
            statistics.mean(pair[side]["ms"] for pair in fastest) for side in range(2)
        )
        self.peak, self.blas = ends[0]["peak"], ends[0]["blas"]
        extra = ends[1]["correction"]  # nanoseconds a timed call
        self.rows, self.rests = [], []
        for plain, timed in fastest:
            inside = 0.0
            for *place, calls, nanoseconds, entries, count in timed["rows"]:
                ms = 1e-6 * max(0.0, nanoseconds - calls * extra)
                numbers = (calls, ms, entries, count)
                self.rows.append((*place, *(number / len(fastest) for number in numbers)))
                inside += ms
            self.rests.append(plain["ms"] - inside)
        self.calls = sum(entry[4] for entry in self.rows)
        self.correction = 1e-6 * self.calls * extra

    def by(self, key):
        """Sum calls, ms, entries and FLOPs over rows of one key; the slowest first."""
        sums = {}
        for entry in self.rows:
            old = sums.get(key(entry), (0, 0, 0, 0))
            sums[key(entry)] = tuple(a + b for a, b in zip(old, entry[4:], strict=True))
        return dict(sorted(sums.items(), key=lambda item: -item[1][1]))

    def shares(self):
        """Return the milliseconds of each kind, and of Python."""
        by_kind = self.by(lambda row: row[3])
        shares = {kind: by_kind.get(kind, (0, 0.0))[1] for kind in KINDS}
        return {**shares, "Python": self.plain - sum(shares.values())}


def report(profile, size, top):
    """Print it."""
    formula, counted = flops(size), sum(x[7] for x in profile.rows)
    print(
        f"{NAMES[size]}, one training step on one thread; {processor()}; NumPy {np.__version__}, "
        f"{profile.blas}{special()}\n"
        f"float32 matmul at {1e-9 * profile.peak:.0f} GFLOP/s; of matmul a step has "
        f"{1e-9 * counted:.6g} GFLOPs, by the formula {1e-9 * formula:.6g}: {FORMULA}\n"
    )
    table = Table("", "ms", "share", "calls")
    by_kind = profile.by(lambda x: x[3])
    for kind, ms in profile.shares().items():
        calls = f"{by_kind[kind][0]:,.0f}" if kind in by_kind else ""
        table.add(kind, f"{ms:.3f}", f"{100 * ms / profile.plain:.1f} %", calls)
    table.add("a step", f"{profile.plain:.3f}", "", f"{profile.calls:,.0f}")
    table.print()
    matmul = by_kind["matmul"][1]
    print(
        f"Matmul runs at {1e-6 * counted / matmul:.1f} GFLOP/s, "
        f"{100 * 1e3 * counted / matmul / profile.peak:.0f} % of the peak; at the peak it would "
        f"take {1e3 * counted / profile.peak:.3f} ms."
    )
    small = [x for x in profile.rows if x[3] != "matmul" and x[6] < SMALL * x[4]]
    print(
        f"Of the rest, {sum(x[4] for x in small):,.0f} calls on fewer than {SMALL:,} entries take "
        f"{sum(x[5] for x in small):.3f} ms: mostly NumPy's own overhead."
    )
    print(
        f"Python is a difference of two measurements: over the {len(profile.rests)} pairs of steps "
        f"it is from {min(profile.rests):.3f} to {max(profile.rests):.3f} ms."
    )
    if profile.shares()["Python"] < 0:
        print(
            "It is negative: the parts were slower than in the step as it is, by other work on "
            "the machine or by the instrument. Compare lines with each other, and not the shares."
        )
    print(
        f"With the instrument a step takes {profile.timed:.3f} ms. Its part in the timed calls, "
        f"{1e6 * profile.correction / profile.calls:.0f} ns each, {profile.correction:.3f} ms in "
        f"all, is taken off above and below.\n"
    )
    lines(profile, top)
    functions(profile, top)


def lines(profile, top):
    """Print a table of the slowest lines."""
    table = Table(
        *("line", "kind", "calls", "entries/call", "ms", "share", "ns/entry", "GFLOP/s", "source"),
        left=(0, 8),
    )
    for (path, line, kind), sums in list(profile.by(lambda x: (*x[:2], x[3])).items())[:top]:
        calls, ms, entries, count = sums
        table.add(
            *(f"{_short(path)}:{line}", kind, f"{calls:,.0f}", f"{entries / calls:,.0f}"),
            *(f"{ms:.3f}", f"{100 * ms / profile.plain:.1f} %"),
            f"{1e6 * ms / max(entries, 1):.2f}",
            f"{1e-6 * count / ms:.1f}" if count and ms else "",
            f"`{linecache.getline(path, line).strip()}`",
        )
    table.print()


def functions(profile, top):
    """Print a table of the slowest functions."""
    of_kind = profile.by(lambda x: (x[0], x[2], x[3]))
    table = Table("function", "ms", "share", *KINDS)
    for (path, function), (_, ms, *_) in list(profile.by(lambda x: (x[0], x[2])).items())[:top]:
        parts = (of_kind.get((path, function, kind), (0, 0.0))[1] for kind in KINDS)
        share = f"{100 * ms / profile.plain:.1f} %"
        table.add(
            f"{_short(path)} {function}", f"{ms:.3f}", share, *(f"{part:.3f}" for part in parts)
        )
    table.print()


def _short(path):
    """Return a path from below the package."""
    parts = Path(path).parts
    return "/".join(parts[len(parts) - parts[::-1].index("npformer") :])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=("tiny", "nano", "baby", "gpt2"), default="nano")
    parser.add_argument("--top", type=int, default=25, help="lines and functions to show")
    parser.add_argument("--clock", choices=CLOCKS, default="cpu")
    parser.add_argument("--seconds", type=float, default=20.0, help="of steps, both ways together")
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(*arguments.work)
        return
    how = arguments.seconds, arguments.clock
    report(Profile(arguments.size, *how), arguments.size, arguments.top)


if __name__ == "__main__":
    main()
