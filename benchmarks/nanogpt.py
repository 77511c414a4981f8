"""nanoGPT's CPU recipe in NumPy and in PyTorch: the loss that both reach, and their time.

    python benchmarks/nanogpt.py --data FILE [--steps 2000] [--seed 0] [--threads 1]

FILE is a text, such as tiny Shakespeare: 65 different characters, a model of 804,096 numbers.
Both sides train the same model (4 layers of 128, context 64, batch 12) from the same initial
values on the same windows in the same order, with AdamW, warm-up and cosine, clipping to 1.
One side is ``npformer train text --recipe nanogpt``, without its looks at held-out text on the
way; the other is PyTorch, eager, written in _torch_gpt.py.

Each side is a process of its own, and they take turns, some steps each, so that a machine
whose speed drifts favours neither. Time is that of the steps, batches included: by the clock,
and of processors, which other work on the machine hardly changes. The loss is that of the whole
held-out tenth, cut into windows that do not overlap.

PyTorch is needed for its side alone: pip install torch
"""

import argparse
import json
import statistics
import sys
import time

from _common import Table, Worker, installed, machine, ratio

TURN = 50  # steps before it is the other side's turn
FIRST = 10  # left out of the time: caches, threads and memory are still being set up


def recipe_of(arguments):
    from npformer.recipes import Text

    given = {name: getattr(arguments, name) for name in ("data", "steps", "seed")}
    return Text(Text.settings_type.chosen({"preset": "nanogpt", **given}))


class Npformer:
    """Trains through the recipe's own trainer."""

    def __init__(self, arguments):
        import npformer

        npformer.set_num_threads(arguments.threads)
        self.recipe = recipe_of(arguments)
        self.trainer = self.recipe.trainer(self.recipe.initial_model())
        self.trainer.workers = arguments.threads  # parts of the batch side by side, one thread each

    def step(self, step):
        """Take one step, and return the loss before it."""
        return self.trainer.step(*self.recipe.batch(step))

    def judge(self):
        """Return the loss of the whole held-out text."""
        return self.recipe.loss(self.trainer.model)


class Torch:
    """Trains the same model by autograd."""

    def __init__(self, arguments):
        import torch
        from _torch_gpt import torch_gpt

        torch.set_num_threads(arguments.threads)
        self.recipe = recipe_of(arguments)
        settings = self.recipe.settings
        self.model = torch_gpt(self.recipe.initial_model())
        decay, no_decay = [], []
        for parameter in self.model.parameters():
            (decay if parameter.dim() >= 2 else no_decay).append(parameter)
        self.optimizer = torch.optim.AdamW(
            [
                {"params": decay, "weight_decay": settings.weight_decay},
                {"params": no_decay, "weight_decay": 0.0},
            ],
            betas=(0.9, settings.beta2),
        )

    def step(self, step):
        """Take one step, and return the loss before it."""
        import torch

        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.schedule(step)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(*self.recipe.batch(step))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return loss.item()

    def loss(self, ids, targets):
        """Return the mean cross-entropy, a tensor."""
        import torch

        logits = self.model(torch.from_numpy(ids))
        wanted = torch.from_numpy(targets).flatten()
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), wanted)

    def judge(self):
        """Return the loss of the whole held-out text."""
        import torch

        total = count = 0
        with torch.no_grad():
            for ids, targets in self.recipe.held_out_batches():
                total += self.loss(ids, targets).item() * len(ids)
                count += len(ids)
        return total / count


SIDES = {"npformer": Npformer, "PyTorch": Torch}


def work(arguments):
    """Do what is asked on stdin, a number of steps or the judging, and answer on stdout."""
    trained, done = SIDES[arguments.side](arguments), 0
    for line in sys.stdin:
        if line == "judge\n":
            answer = trained.judge()
        else:
            began, used = time.perf_counter(), time.process_time()
            for step in range(done, done + int(line)):
                loss = trained.step(step)
            answer = (time.perf_counter() - began, time.process_time() - used, loss)
            done = step + 1
        print(json.dumps(answer), flush=True)


def worker(side, arguments):
    """Return a side at work in a process of its own."""
    command = ["--side", side]
    for name in ("data", "steps", "seed", "threads"):
        command += [f"--{name}", getattr(arguments, name)]
    if side == "PyTorch":  # its memory is left as it would be without npformer
        environment = {"OMP_NUM_THREADS": str(arguments.threads), "NPFORMER_KEEP_MEMORY": "0"}
    else:  # each of its threads multiplies matrices for itself
        environment = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    return Worker(__file__, *command, environment=environment)


def compare(arguments):
    names = list(SIDES) if installed(["torch"]) else ["npformer"]
    sides = {side: worker(side, arguments) for side in names}
    taken = {side: [] for side in sides}  # seconds a step, turn by turn: by the clock
    used = {side: [] for side in sides}  # and of processors
    first = min(FIRST, arguments.steps // 2)
    turns, done = [first], first
    while done < arguments.steps:
        turns.append(min(TURN, arguments.steps - done))
        done += turns[-1]
    done, losses = 0, {}
    for number, count in enumerate(turns):
        order = list(sides)[:: -1 if number % 2 else 1]
        for side in order:
            seconds, of_processors, losses[side] = sides[side].ask(count)
            if number:
                taken[side].append(seconds / count)
                used[side].append(of_processors / count)
        done += count
        if number % 5 == 0 or done == arguments.steps:
            shown = ", ".join(f"{side} {loss:.4f}" for side, loss in losses.items())
            print(f"step {done}/{arguments.steps}, loss of the batch: {shown}", flush=True)
    print()
    table = Table("", "held-out loss", "a step", "processors", "all steps")
    for side, process in sides.items():
        loss = process.ask("judge")
        process.end()
        table.add(
            side,
            f"{loss:.4f}",
            f"{1e3 * statistics.median(taken[side]):.1f} ms",
            f"{1e3 * statistics.median(used[side]):.1f} ms",
            f"{statistics.mean(taken[side]) * arguments.steps:.1f} s",
        )
    table.print()
    if len(sides) == 2:
        by_clock, by_processors = (ratio(x["PyTorch"], x["npformer"]) for x in (taken, used))
        print(
            f"PyTorch takes {by_clock:.2f} times npformer's time, and {by_processors:.2f} times "
            f"its processor time (medians over turns)"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", metavar="FILE", required=True, help="a UTF-8 text")
    parser.add_argument("--steps", type=int, metavar="N", default=2000, help="at least 2")
    parser.add_argument("--seed", type=int, metavar="N", default=0)
    parser.add_argument(
        "--threads", type=int, metavar="N", default=1, help="more than 1 wants an idle machine"
    )
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.steps < 2 or arguments.threads < 1:
        parser.error("--steps is at least 2, --threads at least 1")
    if arguments.side:
        work(arguments)
        return
    from npformer.recipes._settings import InputError

    try:
        recipe = recipe_of(arguments)
    except InputError as error:
        parser.error(str(error))
    size = sum(parameter.value.size for parameter in recipe.initial_model().parameters())
    print(recipe.describe())
    print(f"{size:,} parameters; {machine()}; threads of a side: {arguments.threads}\n")
    compare(arguments)


if __name__ == "__main__":
    main()
