"""What the benchmarks share: the machine in words, its matmul speed, processes, peers, tables."""

import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import time

import numpy as np

# They change which kernels OpenBLAS runs, and how it cuts matrices.
TELLING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


def machine():
    """Name the processor, its cores, the threads in use, NumPy and its BLAS, in one line."""
    import npformer

    return (
        f"{processor()}, {os.cpu_count()} cores, {npformer.num_threads()} threads; "
        f"NumPy {np.__version__}, {blas()}{special()}"
    )


def processor():
    """Name the processor."""
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as lines:
            found = [line.partition(":")[2].strip() for line in lines if "model name" in line]
        if found:
            return found[0]
    return platform.processor() or platform.machine()


def blas():
    """Name NumPy's BLAS and the kernels that it has picked."""
    if not importlib.util.find_spec("threadpoolctl"):
        return "BLAS unknown without threadpoolctl"
    from threadpoolctl import threadpool_info

    found = [x for x in threadpool_info() if x["user_api"] == "blas"]
    return ", ".join(
        f"{x['internal_api']} {x['version']} ({x.get('architecture')}, threads: {x['num_threads']})"
        for x in found
    )


def special():
    """Say which settings of the environment change the kernels; mostly none."""
    found = [f"{name}={os.environ[name]}" for name in TELLING if name in os.environ]
    return f"; set in the environment: {', '.join(found)}" if found else ""


def sgemm_peak(n=3072, clock=time.perf_counter):
    """Return the best speed of a float32 product of two n by n matrices, in FLOPs a second."""
    a = np.ones((n, n), np.float32)
    best = float("inf")
    for _ in range(5):
        start = clock()
        a @ a
        best = min(best, clock() - start)
    return 2 * n**3 / best


def times_of(work, seconds, *, at_least=3, at_most=100):
    """Do some work again and again, for so many seconds; return how long each time took."""
    times, began = [], time.perf_counter()
    while len(times) < at_least or (time.perf_counter() - began < seconds and len(times) < at_most):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return times


def at_least_one(text):
    """Read a count from the command line."""
    count = int(text)
    if count < 1:
        raise ValueError(text)  # argparse says what was given
    return count


def peak_memory():
    """Return the most memory that this process has held, in megabytes."""
    import resource  # not on Windows

    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def in_process(script, *arguments, environment=None):
    """Run a benchmark's script once more with these arguments; return what it prints.

    A measurement is a process of its own, so that no thread of one library is still waiting for
    work while another runs, and nothing that was set or allocated before has a say.
    """
    command = [sys.executable, script, *(str(argument) for argument in arguments)]
    environment = {**os.environ, **(environment or {})}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"a measurement has stopped with status {done.returncode}: {command}")
    return done.stdout


class Worker:
    """A benchmark's script at work in a process of its own, which waits for its turns."""

    def __init__(self, script, *arguments, environment=None):
        self.process = subprocess.Popen(
            [sys.executable, script, *(str(argument) for argument in arguments)],
            env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, what):
        """Return the answer to a line, which is JSON."""
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"a side has stopped with status {self.process.wait()}")
        return json.loads(line)

    def end(self):
        """Let it end, and wait until it has."""
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def numbers(text):
    """Return the numbers of the last line of a text."""
    return tuple(float(word) for word in text.splitlines()[-1].split())


def absent(packages):
    """Return a line for each package that is not installed: its name, and how to install it."""
    return [
        f"{name} is not installed, and left out: pip install {name}"
        for name in dict.fromkeys(packages)
        if not importlib.util.find_spec(name)
    ]


def installed(packages):
    """Return those of some packages that are there; print how to install the others."""
    packages = list(dict.fromkeys(packages))
    for line in absent(packages):
        print(line)
    return [name for name in packages if importlib.util.find_spec(name)]


def medians(rows):
    """Return the median of each column."""
    return tuple(statistics.median(column) for column in zip(*rows, strict=True))


def ratio(above, below):
    """Return the median of the ratios within a round."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


class Table:
    """Rows of text, as a Markdown table that is also readable as it stands.

    Parameters
    ----------
    *names : str
        Of the columns.
    left : container of int, optional
        The columns that are set to the left; the others to the right.
    """

    def __init__(self, *names, left=(0,)):
        self.rows = [names]
        self.left = left

    def add(self, *cells):
        """Add a row, of as many cells as there are columns."""
        self.rows.append([str(cell) for cell in cells])

    def print(self):
        """Print it, each column as wide as its widest cell."""
        names, *rows = self.rows
        widths = [
            max(3, *(len(cell) for cell in column)) for column in zip(*self.rows, strict=True)
        ]
        for number, cells in enumerate((names, [""] * len(names), *rows)):
            line = []
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True)):
                if number == 1:
                    cell = ":" + "-" * (width - 1) if i in self.left else "-" * (width - 1) + ":"
                line.append(cell.ljust(width) if i in self.left else cell.rjust(width))
            print("| " + " | ".join(line) + " |")
        print(flush=True)
