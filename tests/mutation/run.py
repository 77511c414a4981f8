"""Apply mutations to the backward passes, and run the tests against each.

``python tests/mutation/run.py [NAME ...]``: a NAME is a file, a function or a class, such as
``linear``, ``linear_backward`` or ``"layers/linear.py Linear.backward"``; without one, all are
taken. The exit status is 1 if a mutant survives that ``equivalents.txt`` does not list, or if
what it lists does not exist or is killed after all. ``--sample 100`` tries no more than 100 mutants
of each function, and ``--tests tests/functional -k conv1d`` runs fewer tests, for those in a hurry.
``--record`` puts how they ended in the table of README.md.
``--challenge`` doubts the list: it tries what ``equivalents.txt`` lists, and nothing else, against
every test that reaches it, however long that takes. To be run after a change of the list, or of
what a listed function may be called with.

How it works: package and tests are copied to a temporary folder, where pytest imports and
collects them once. A first pass over the original finds out which tests reach which function.
Then each mutant gets a process of its own, forked from the one that has everything imported. In
it the function's code object is exchanged, so that whoever holds the function runs the mutant,
and the tests that reach it run until one fails, first those that killed most mutants a second. A
mutant that survives `SOON` seconds of them, and is not listed, meets the others. Of very many tests
the nearest run, those that reach few other targets, up to `FAR` seconds in all. A challenge spares
none.
"""

import argparse
import ast
import copy
import gc
import importlib
import inspect
import itertools
import math
import os
import pickle
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict, deque
from pathlib import Path
from types import FunctionType

import pytest
from mutate import bare, drawn, mutants
from score import Row, fingerprint, write
from targets import targets

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "npformer"
TESTS = (
    "tests/test_contract.py",
    "tests/test_biases.py",
    "tests/functional",
    "tests/layers",
    "tests/models",
    "tests/core",
)
EQUIVALENTS = "tests/mutation/equivalents.txt"
RECORD = "tests/mutation/README.md"
NEEDED = (PACKAGE, "tests", "setup.cfg")
SOON = 4.0  # seconds of tests that a mutant has to survive
FAR = 60.0  # and with those that it meets in a second round, unless it is listed
BYTES = 8 << 30  # that a mutant may allocate
LATE = (signal.SIGPROF, signal.SIGALRM)


class Runner:
    """A pytest plugin that, in place of running the tests once, runs them once a mutant."""

    def __init__(self, root, chosen, made, totals, listed, processes, challenge):
        self.root, self.chosen, self.made, self.listed = root, chosen, made, listed
        self.totals = totals  # of each function, how many were made
        self.processes, self.challenge = processes, challenge
        self.outcomes = []  # (target, mutant, who killed it or None)
        self.rows = {}  # of the record, by the function's name
        self.failed = False
        self.trouble = ""  # why nothing was tried

    def pytest_configure(self, config):
        config.option.tbstyle = "native"  # the fastest: nobody reads it

    def pytest_collection(self):
        """Spare hypothesis the search for the smallest example: one that fails will do."""
        from hypothesis import Phase, settings

        phases = (Phase.explicit, Phase.generate)
        settings.register_profile(
            "mutation", settings.default, phases=phases, report_multiple_bugs=False
        )
        settings.load_profile("mutation")

    def pytest_collectreport(self, report):
        if report.failed:
            self.trouble = f"{report.nodeid} cannot be collected:\n{report.longreprtext}"

    def pytest_runtestloop(self, session):
        if self.trouble:
            return True
        self.items = {item.nodeid: item for item in session.items}
        self.functions = {target.name: self.function(target) for target in self.chosen}
        gc.freeze()  # what is there already, no process of a mutant need look at
        first = Fork(self.baseline, 600).result()
        if isinstance(first, str):
            self.trouble = f"without any mutant {first} does not pass"
            return True
        took, reached = first
        print(f"{len(self.items)} tests, {sum(took.values()):.0f} s without a mutant\n")
        self.try_all(took, reached)
        return True

    def pytest_runtest_logreport(self, report):
        self.failed |= report.failed

    def function(self, target):
        """The function object itself, which is that of the copy."""
        dotted = target.file.removesuffix(".py").replace("/", ".")
        function = importlib.import_module(f"{PACKAGE}.{dotted}")
        for name in target.qualname.split("."):
            function = getattr(function, name)
        function = inspect.unwrap(function)
        assert isinstance(function, FunctionType)
        assert not function.__code__.co_freevars
        assert Path(function.__code__.co_filename) == self.root / PACKAGE / target.file
        assert function.__code__.co_firstlineno == target.node.lineno
        return function

    def passes(self, item):
        self.failed = False
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
        return not self.failed

    def baseline(self):
        """Seconds that each test takes, and for each target the tests that reach it."""
        now = set()
        for target in self.chosen:
            function, node = self.functions[target.name], copy.deepcopy(target.node)
            function.__globals__["_reached_"] = now.add
            node.body[:0] = ast.parse(f"_reached_({target.name!r})").body
            function.__code__ = code(ast.unparse(node), target)
        took, reached = {}, defaultdict(list)
        for name, item in self.items.items():
            now.clear()
            start = time.process_time()
            if not self.passes(item):
                return name
            took[name] = max(time.process_time() - start, 1e-4)
            for target in now:
                reached[target].append((len(now), took[name], name))
        far = math.inf if self.challenge else FAR
        return took, {target: nearest(tests, far) for target, tests in reached.items()}

    def try_all(self, took, reached):
        tried, kills = Counter(), Counter()  # by target and test
        running, waiting = {}, {name: [*some] for name, some in self.made.items()}
        queue = deque((t, m, None) for t in self.chosen for m in waiting[t.name])

        def wait():
            for fork in select.select([*running], [], [])[0]:
                target, mutant, names, rest = running.pop(fork)
                killer = fork.result()
                ran = names[: names.index(killer) + 1 if killer in names else None]
                tried.update((target.name, name) for name in ran)
                kills[target.name, killer] += 1
                doubted = self.challenge or key(target, mutant) not in self.listed
                if killer is None and rest and doubted:
                    queue.appendleft((target, mutant, rest))
                    continue
                self.outcomes.append((target, mutant, killer))
                waiting[target.name].remove(mutant)
                if not waiting[target.name]:
                    self.report(target)

        while queue or running:
            if len(running) == self.processes or not queue:
                wait()
                continue
            target, mutant, names = queue.popleft()
            rest = []
            if names is None:
                promise = {
                    name: (kills[target.name, name] + 1) / (tried[target.name, name] + 2)
                    for name in reached.get(target.name, [])
                }
                names = sorted(promise, key=lambda name: promise[name] / took[name], reverse=True)
                names, rest = soon(names, took)
            limit = 10 + 10 * sum(took[name] for name in names)
            fork = self.fork(target, mutant, names, limit)
            running[fork] = target, mutant, names, rest

    def fork(self, target, mutant, names, limit):
        """Start the tests; the result is the name of the first that fails, or None."""

        def trial():
            self.functions[target.name].__code__ = code(mutant.source, target)
            return next((name for name in names if not self.passes(self.items[name])), None)

        return Fork(trial, limit)

    def report(self, target):
        outcomes = [(m, killer) for t, m, killer in self.outcomes if t is target]
        alive = [m for m, killer in outcomes if killer is None]
        equal = [m for m in alive if key(target, m) in self.listed]
        line = f"{target.name:<72}{len(outcomes):5} mutants, {len(outcomes) - len(alive):4} killed"
        line += f", {len(equal)} equivalent" if equal else ""
        line += f", {len(alive) - len(equal)} SURVIVE" if len(alive) > len(equal) else ""
        print(line)
        self.rows[target.name] = Row(
            fingerprint(target),
            self.totals[target.name],
            len(outcomes) - len(alive),
            len(equal),
            len(alive) - len(equal),
        )
        for mutant in sorted(alive, key=lambda m: m.line):
            if mutant not in equal:
                print(f"  {PACKAGE}/{target.file}:{mutant.line} {mutant.kind}")
                print(f"    - {mutant.before}\n    + {mutant.after}")
        sys.stdout.flush()


class Fork:
    """A job in a process of its own, with limits; what it returns comes through a pipe."""

    def __init__(self, job, seconds):
        self.read, write = os.pipe()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid:
            os.close(write)
            return
        try:
            signal.setitimer(signal.ITIMER_PROF, seconds)  # of the processor's time
            signal.alarm(60 + 20 * int(seconds))
            resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, 1)
            os.dup2(nothing, 2)
            try:
                result = job()
            except Exception:  # a test does not raise here, so this is a mistake in this file
                result = RuntimeError(traceback.format_exc())
            with open(write, "wb") as pipe:
                pickle.dump(result, pipe)
        finally:
            os._exit(0)

    def fileno(self):
        return self.read

    def result(self):
        """What the job returned, or by what it ended without."""
        with open(self.read, "rb") as pipe:
            sent = pipe.read()
        _, status = os.waitpid(self.pid, 0)
        if not sent:
            late = os.WIFSIGNALED(status) and os.WTERMSIG(status) in LATE
            return "the time limit" if late else "a crash"
        result = pickle.loads(sent)
        if isinstance(result, RuntimeError):
            raise result
        return result


def nearest(tests, seconds):
    """Names of the tests that reach little else, as many as take so long."""
    totals = itertools.accumulate(took for _, took, _ in sorted(tests))
    names = [name for *_, name in sorted(tests)]
    return [name for name, total in zip(names, totals, strict=True) if total <= seconds] or names[
        :1
    ]


def soon(names, took):
    """The tests that run first, and those that do if they do not kill."""
    totals = itertools.accumulate(took[name] for name in names)
    count = max(sum(total <= SOON for total in totals), 1)
    return names[:count], names[count:]


def code(source, target):
    """The code object of a function from its source."""
    compiled = compile(source, target.file, "exec").co_consts
    return next(c for c in compiled if getattr(c, "co_name", "") == target.node.name)


def key(target, mutant):
    """What it is listed under in ``equivalents.txt``, and found again."""
    return target.name, bare(mutant.before), bare(mutant.after)


def read_equivalents(path):
    """What is listed, by its `key`, as it is listed.

    The file has a block for each reason: ``@`` and the function, ``-`` and the line as it is,
    ``+`` and the line as it may be, several of them perhaps, ``=`` and why. What a block does not
    say is as in the block before.
    """
    listed, after = {}, []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        mark, text = line[:1], line[2:]
        if mark == "@":
            name = text
        elif mark == "-":
            before = text
        elif mark == "+":
            after.append(text)
        elif mark == "=":
            block = f"{name}\n    - {before}\n    + "
            new = {(name, bare(before), bare(a)): block + a for a in after}
            assert text, f"line {number}: no reason"
            assert not new.keys() & listed.keys(), f"line {number}: listed twice"
            listed |= new
            after = []
    assert not after, f"line {number}: no reason"
    return listed


def stale(chosen, made, outcomes, listed):
    """What `equivalents.txt` lists for these targets and should not."""
    known = {key(target, mutant) for target in chosen for mutant in made[target.name]}
    for entry, text in listed.items():
        if entry[0] in made and entry not in known:
            yield f"there is no such mutant: {text}"
    for target, mutant, killer in outcomes:
        if killer is not None and key(target, mutant) in listed:
            yield f"it is killed by {killer}: {listed[key(target, mutant)]}"


def main(arguments=None):
    """Return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="file, function or class")
    parser.add_argument("--processes", type=int, default=2, metavar="N", help="at once (2)")
    parser.add_argument(
        "--sample", type=int, metavar="N", help="of each function, at most N mutants"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="that the sample has (0)")
    parser.add_argument("--tests", action="append", metavar="PATH", help="to run, and no others")
    parser.add_argument("-k", default="", metavar="EXPR", help="of the tests, those it fits")
    parser.add_argument("--record", action="store_true", help=f"write it in {RECORD}")
    parser.add_argument(
        "--challenge", action="store_true", help="try what is listed as equivalent, by all tests"
    )
    parser.add_argument("--list", action="store_true", help="show the mutants and run nothing")
    parser.add_argument("--root", type=Path, default=ROOT, help="of the project")
    options = parser.parse_args(arguments)
    if options.record and options.challenge:
        parser.error("--record is of a whole run, and --challenge of what is listed")
    start = time.perf_counter()
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when NumPy is imported, with the package
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        for name in NEEDED:
            source = options.root / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, root / name)
        listed = read_equivalents(root / EQUIVALENTS)
        chosen = targets(root / PACKAGE)
        for name in options.names:
            if not any(target.answers_to(name) for target in chosen):
                parser.error(f"nothing is called {name!r}")
        if options.names:
            chosen = [t for t in chosen if any(t.answers_to(name) for name in options.names)]
        every = {target.name: mutants(target.node) for target in chosen}
        tried = every
        if options.challenge:
            tried = {t.name: [m for m in every[t.name] if key(t, m) in listed] for t in chosen}
            chosen = [target for target in chosen if tried[target.name]]
            if not chosen:
                parser.error("nothing of this is listed as equivalent")
        made = {name: drawn(all_, options.sample, options.seed) for name, all_ in tried.items()}
        if options.list:
            for target in chosen:
                for mutant in made[target.name]:
                    print(f"{PACKAGE}/{target.file}:{mutant.line} {target.qualname}: {mutant.kind}")
                    print(f"    - {mutant.before}\n    + {mutant.after}")
            return 0
        sys.path[0] = str(root)
        os.chdir(root)
        totals = {name: len(all_) for name, all_ in every.items()}
        runner = Runner(root, chosen, made, totals, listed, options.processes, options.challenge)
        flags = ["-p", "no:cacheprovider", "-p", "no:terminal", "-p", "no:timeout", "-s"]
        paths = [t for t in options.tests or TESTS if (root / t).exists()]
        status = pytest.main([*flags, "-k", options.k, *paths], plugins=[runner])
        os.chdir(options.root)
    if runner.trouble or not runner.outcomes:
        print(runner.trouble or f"pytest tried nothing and ended with status {status}")
        return 2
    if options.record:
        known = targets(options.root / PACKAGE)
        write(options.root / RECORD, known, runner.rows, lambda t: len(mutants(t.node)))
    outcomes = runner.outcomes
    survivors = [o for o in outcomes if o[2] is None and key(*o[:2]) not in listed]
    equivalents = sum(killer is None for *_, killer in outcomes) - len(survivors)
    wrong = [*stale(chosen, every, outcomes, listed)]
    for what in wrong:
        print(f"\nlisted as equivalent, but {what}")
    killed, counted = len(outcomes) - equivalents - len(survivors), len(outcomes) - equivalents
    ends = Counter(killer for *_, killer in outcomes if killer in ("the time limit", "a crash"))
    by = "".join(f" ({n} by {what})" for what, n in ends.items())
    total = sum(map(len, tried.values()))
    share = f" of {total}, drawn by seed {options.seed}" if len(outcomes) < total else ""
    score = f"score {100 * killed / max(counted, 1):.2f} %, " if not options.challenge else ""
    print(
        f"\n{len(outcomes)} mutants{share}: {killed} killed{by}, {equivalents} equivalent, "
        f"{len(survivors)} survive; {score}{time.perf_counter() - start:.0f} s"
    )
    return int(bool(survivors or wrong))


if __name__ == "__main__":
    sys.exit(main())
