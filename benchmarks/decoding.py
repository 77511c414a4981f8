"""What a cache of keys and values gains: writing with it, and computing the past anew each time.

    python benchmarks/decoding.py [--size small gpt2] [--prompts 64 256 1024] [--tokens 32]
    python benchmarks/decoding.py --model FILE.gguf [--tokens 32] [--rounds 3] [--threads 2]

The weights are random, which costs the same as trained ones. Everything runs on one thread, and
times are the processor's: what else runs on the machine does not count. Both sides run in one
process and take turns, so that a machine whose speed drifts favours neither. The model of size
gpt2 is that of GPT-2's smallest, but for a longer table of positions: 124 million numbers, 0.5 GB.
It takes about a minute of one core.

With a model, its own weights decode here and in transformers, each in a process of its own, in
turn, greedily, from one prompt; times are then those of the clock. Each token needs every weight
once, so what a token takes at the least is their bytes at the speed at which memory can be read.
That is measured too, by products of arrays as large with themselves, in as many threads.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

if not {"--model", "--side"} & set(sys.argv):
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy is loaded

import numpy as np
from _common import Table, Worker, installed, machine, ratio, sgemm_peak

import npformer
import npformer.functional as F
from npformer.formats import open_tokenizer
from npformer.generation import generate
from npformer.models import GPT, GPTConfig

# size: vocabulary, width, heads, layers
SIZES = {"small": (5_000, 384, 6, 6), "gpt2": (50_257, 768, 12, 12)}


def seconds(work):
    start = time.process_time()
    work()
    return time.process_time() - start


class Stopwatch:
    """Stands in for a function of `F`, and adds up the time that is spent in it."""

    def __init__(self, name, clock=time.process_time):
        self.name, self.clock = name, clock
        self.real, self.total = getattr(F, name), 0.0

    def __enter__(self):
        setattr(F, self.name, self)
        return self

    def __exit__(self, *raised):
        setattr(F, self.name, self.real)

    def __call__(self, *arguments, **options):
        """Run the real one."""
        start = self.clock()
        found = self.real(*arguments, **options)
        self.total += self.clock() - start
        return found


def whole_runs(model, ids, prompt, tokens, rounds):
    """Compare `generate` with and without a cache."""
    rates = {True: [], False: []}
    for _ in range(rounds):
        for use_cache, found in rates.items():
            took = seconds(
                lambda use_cache=use_cache: generate(
                    model, ids[:, :prompt], tokens, temperature=0, use_cache=use_cache
                )
            )
            found.append(tokens / took)
    cached, anew = (statistics.median(found) for found in rates.values())
    print(
        f"writing {tokens} tokens after {prompt}: {cached:.1f} a second cached, {anew:.2f} anew, "
        f"{ratio(*rates.values()):.1f} times as fast\n",
        flush=True,
    )


def flops(size, tokens, keys):
    """Return the arithmetic of so many new tokens, which look at so many keys."""
    vocab, width, _, layers = SIZES[size]
    return (
        2 * tokens * (12 * layers * width**2 + vocab * width) + 4 * layers * tokens * keys * width
    )


def by_length(model, size, ids, arguments, peak):
    """Show what one more token costs after a prompt."""
    names = ("prompt", "of the peak", "a token, cached", "of the peak", "attention", "the rest")
    table = Table("tokens before", *names, "anew", "anew / cached")
    tokens, rounds = arguments.tokens, arguments.rounds
    for prompt in arguments.prompts:
        cache = model.new_cache(1, prompt + tokens)
        first = seconds(lambda cache=cache, prompt=prompt: model(ids[:, :prompt], cache=cache))
        steps, attention, anew = [], [], []
        every = max(1, tokens // rounds)
        for t in range(tokens):
            with Stopwatch("attention") as watch:
                step = ids[:, prompt + t, None]
                steps.append(seconds(lambda step=step, cache=cache: model(step, cache=cache)))
            attention.append(watch.total)
            if t % every == 0 and len(anew) < rounds:  # in turn with the other side
                anew.append(seconds(lambda n=prompt + t + 1: model(ids[:, :n])))
        rest = 1e3 * statistics.median(s - a for s, a in zip(steps, attention, strict=True))
        cached, inside, again = (1e3 * statistics.median(x) for x in (steps, attention, anew))
        shares = (
            100 * flops(size, prompt, prompt) / first / peak,
            100 * flops(size, 1, prompt + tokens // 2) / (1e-3 * cached) / peak,
        )
        table.add(
            *(f"{prompt:,}", f"{1e3 * first:.0f} ms", f"{shares[0]:.0f} %"),
            *(f"{cached:.2f} ms", f"{shares[1]:.0f} %"),
            *(f"{inside:.2f} ms", f"{rest:.2f} ms", f"{again:.1f} ms", f"{again / cached:.1f}"),
        )
    table.print()


PROMPT = "The capital of France is"


class Steps(list):
    """When each token was written, by the clock and by the processor's time."""

    def note(self, *_):
        """Say that one is written now."""
        self.append((time.perf_counter(), time.process_time()))

    def answer(self, ids):
        """Return what a side answers."""
        clock, processor = np.diff(self, axis=0).T.tolist()
        return {"ids": ids.tolist(), "clock": clock, "processor": processor}


def our_side(folder, ids, threads):
    """Return a function that writes so many tokens and says how long each step took."""
    npformer.set_num_threads(threads)
    model = GPT.from_pretrained(folder)

    def run(tokens):
        steps, linear = Steps(), []
        with Stopwatch("linear", time.perf_counter) as watch:

            def note(tokens):
                steps.note()
                linear.append(watch.total)

            written = generate(model, ids, tokens, temperature=0, on_token=note)
        return {**steps.answer(written[0]), "linear": np.diff(linear).tolist()}

    return run


def their_side(folder, ids, threads):
    """Return the same of transformers."""
    import torch
    import transformers

    torch.set_num_threads(threads)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    model.generation_config.eos_token_id = None  # it goes on after the end, as ours does

    def run(tokens):
        steps = Steps()

        def note(ids, scores):
            steps.note()
            return scores

        with torch.no_grad():
            found = model.generate(
                torch.tensor(ids), max_new_tokens=tokens, do_sample=False, logits_processor=[note]
            )
        return steps.answer(found[0])

    return run


def serve(side, folder, threads):
    """Do as a parent process says: write so many tokens."""
    warnings.simplefilter("ignore")
    ids = np.load(Path(folder) / "ids.npy")
    run = {"npformer": our_side, "transformers": their_side}[side](folder, ids, threads)
    for line in sys.stdin:
        print(json.dumps(run(int(line))), flush=True)


def reading_speed(count, threads):
    """Return the best speed at which so many bytes are read, by threads, in bytes a second."""
    parts = [np.ones(count // 4 // threads, np.float32) for _ in range(threads)]
    best = float("inf")
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(8):
            start = time.perf_counter()
            list(pool.map(np.dot, parts, parts))  # each entry is read once
            best = min(best, time.perf_counter() - start)
    return sum(part.nbytes for part in parts) / best


def real_model(path, tokens, rounds, threads):
    """Compare decoding with a real model's weights, here and in transformers."""
    sides = ["npformer", *installed(["transformers"])]
    environment = {"OPENBLAS_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    found, speeds, workers = {side: [] for side in sides}, [], {}
    with tempfile.TemporaryDirectory() as folder:
        model = GPT.from_pretrained(path)  # both sides get the same float32 weights
        model.save_pretrained(folder)
        np.save(Path(folder) / "ids.npy", open_tokenizer(path).encode(PROMPT)[None])
        read = sum(parameter.value.nbytes for parameter in model.parameters())
        del model
        for side in sides:
            options = ("--side", side, "--model", folder, "--threads", threads)
            workers[side] = Worker(__file__, *options, environment=environment)
            found[side].append(workers[side].ask(2))  # to warm up, and it has read the folder
    for _ in range(rounds):
        for side, worker in workers.items():
            found[side].append(worker.ask(tokens))
        speeds.append(reading_speed(read, threads))
    for side, worker in workers.items():
        worker.end()
        del found[side][0]
    speed = max(speeds)
    print(
        f"{machine()}; {threads} threads; {Path(path).name}: {read / 1e6:,.0f} MB of float32 "
        f"weights a token; memory is read at {speed / 1e9:.1f} GB/s, so at most "
        f"{speed / read:.0f} tokens a second; {rounds} rounds of {tokens} tokens\n"
    )
    table = Table("", "tokens a second", "best step", "of the reading speed", "npformer's times")
    clocks = ["clock"] if threads > 1 else ["clock", "processor"]
    for clock in clocks:
        rates = {
            side: [1 / statistics.median(answer[clock]) for answer in answers]
            for side, answers in found.items()
        }
        for side in sides:
            rate = statistics.median(rates[side])
            best = 1 / min(min(answer[clock]) for answer in found[side])
            share = f"{100 * rate * read / speed:.0f} %"
            times = ratio(rates["npformer"], rates[side])
            table.add(f"{side}, {clock}", f"{rate:.1f}", f"{best:.1f}", share, f"{times:.2f}")
    table.print()
    own = found["npformer"]
    whole, linear = (
        1e3 * statistics.median(chain.from_iterable(x[key] for x in own))
        for key in ("clock", "linear")
    )
    print(
        f"of npformer's {whole:.1f} ms a token, products take {linear:.1f} "
        f"({read / linear / 1e6:.1f} GB/s), and all else {whole - linear:.1f}"
    )
    ids = [found[side][0]["ids"] for side in sides]
    if len(ids) > 1:
        print("both write the same tokens" if ids[0] == ids[1] else "they write different tokens")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--prompts", nargs="+", type=int, default=[64, 128, 256, 512, 1024])
    parser.add_argument("--tokens", type=int, default=32, help="written after each prompt")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", help="a folder or .gguf file, to decode beside transformers")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="with --model")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        serve(arguments.side, arguments.model, arguments.threads)
        return
    if arguments.model:
        real_model(arguments.model, arguments.tokens, arguments.rounds, arguments.threads)
        return
    npformer.set_num_threads(1)
    peak = sgemm_peak(clock=time.process_time)
    print(
        f"{machine()}; float32 matmul at {peak / 1e9:,.0f} GFLOP/s; medians\n"
        f"FLOPs of n tokens that look at s keys: 2 n (12 L D^2 + V D) + 4 L n s D\n"
    )
    for size in arguments.size:
        vocab, width, heads, layers = SIZES[size]
        longest = max(arguments.prompts) + arguments.tokens
        rng = np.random.default_rng(0)
        model = GPT(GPTConfig(vocab, longest, width, heads, layers), rng=rng)
        count = sum(parameter.value.size for parameter in model.parameters())
        print(
            f"{size}: {layers} layers of {width}, vocabulary {vocab:,}, {count / 1e6:.0f}M numbers"
        )
        ids = rng.integers(0, vocab, (1, longest))
        first = arguments.prompts[0]
        model(ids[:, :first])  # to warm up
        whole_runs(model, ids, first, arguments.tokens, arguments.rounds)
        by_length(model, size, ids, arguments, peak)


if __name__ == "__main__":
    main()
