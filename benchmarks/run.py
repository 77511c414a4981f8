"""Run the benchmarks, and write their tables to one Markdown file.

    python benchmarks/run.py [--quick] [--out results.md] [--only NAME ...]

Without --only: ops, steps, attention, decoding and memory, which takes about half an hour. By name
alone, because they take long, want a text or are of another kind: gradcheck_reliability, nanogpt
(with --data FILE), profile_step, checkpointing, lock. --quick gives a look at each in minutes: few
rounds, small sizes.

A peer that is not installed is left out, and how to install it is printed. Nothing else should
run on the machine. To set the threads of all sides, set OPENBLAS_NUM_THREADS, OMP_NUM_THREADS and
NPFORMER_NUM_THREADS in the environment.
"""

import argparse
import datetime
import subprocess
import sys
from pathlib import Path

from _common import absent, machine, sgemm_peak

# name: (what it is, its arguments with --quick)
USUAL = {
    "ops": ("operations and layers", "--rounds 1 --sizes baby --seconds 0.1"),
    "steps": ("whole training steps", "--rounds 1 --sizes nano"),
    "attention": ("long sequences", "--rounds 1 --lengths 1024 --windows 1024 4096"),
    "decoding": ("with and without a cache", "--size small --prompts 64 256 --tokens 8 --rounds 1"),
    "memory": ("freed memory kept or given back", "--rounds 1 --sizes nano"),
}
NAMED = {
    "profile_step": ("where a step's time goes", "--seconds 5 --top 10"),
    "checkpointing": ("memory with activation checkpoints", "--rounds 1 --rows 2"),
    "lock": ("what Python's lock costs two threads", "--rounds 1"),
    "nanogpt": ("a whole training run", "--steps 100"),
    "gradcheck_reliability": ("false alarms and misses", "--seeds 2"),
}
SCRIPTS = {**USUAL, **NAMED}
PEERS = ["torch", "jax", "threadpoolctl"]


class Report:
    """Prints, and writes the same to a file as it goes."""

    def __init__(self, path):
        self.file = open(path, "w", encoding="utf-8")  # noqa: SIM115 -- closed by `main`

    def write(self, text):
        """Take a piece of text."""
        for stream in (sys.stdout, self.file):
            stream.write(text)
            stream.flush()


def run(name, arguments, report):
    """Run a script; return whether it succeeded."""
    what, quick = SCRIPTS[name]
    more = quick.split() if arguments.quick else []
    if name == "nanogpt":
        more += ["--data", arguments.data]
    report.write(
        f"\n## {name}: {what}\n\n`{' '.join(['python', f'benchmarks/{name}.py', *more])}`\n\n"
    )
    command = [sys.executable, "-u", str(Path(__file__).with_name(f"{name}.py")), *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            report.write(line)
    if process.returncode:
        report.write(f"\n{name} has stopped with status {process.returncode}.\n")
    return process.returncode == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few rounds, small sizes")
    parser.add_argument("--out", metavar="FILE", default="results.md")
    parser.add_argument("--only", nargs="+", choices=SCRIPTS, default=list(USUAL), metavar="NAME")
    parser.add_argument("--data", metavar="FILE", help="a UTF-8 text, for nanogpt")
    arguments = parser.parse_args()
    if "nanogpt" in arguments.only and not arguments.data:
        parser.error("nanogpt wants a text: --data FILE")
    report = Report(arguments.out)
    with report.file:
        report.write(f"# Benchmarks of npformer, {datetime.date.today()}\n\n")
        peak = sgemm_peak() / 1e9
        report.write(f"{machine()}; a large float32 product at {peak:,.0f} GFLOP/s.\n")
        for line in absent(PEERS):
            report.write(f"\n{line}\n")
        failed = [name for name in arguments.only if not run(name, arguments, report)]
    print(f"\nwritten to {arguments.out}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
