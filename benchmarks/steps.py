"""A whole training step against PyTorch and JAX, and against what the machine's matmul allows.

    python benchmarks/steps.py [--rounds 3] [--sizes nano baby gpt2] [--peers torch compile jax]

A step is forward, backward, clipping to a common norm of 1, and AdamW with weight decay on
matrices alone, in float32, by what a user would write: on this side a `Trainer` with its
defaults, and beside it the same with the batch in one piece and in two, to see whether it chose
well. The other sides run as they would without npformer's allocator setting. Every measurement
is a process of its own, all sides in turn, so that a machine whose speed drifts favours none.
Shown are medians of the rounds; a ratio is the median of the ratios within a round.

The share of the peak is the step's matmul arithmetic, by formula, over its time and over the
speed of one large float32 product, measured in the same run:

    FLOPs = 6 N (L (4 D^2 + 2 D F) + V D) + 12 L B T^2 D       N = B T tokens

2 for each multiply-add, 3 products for one of the forward pass; the last term is attention, all
T^2 scores counted. Memory is the process's peak, with its libraries.

Peers: pip install torch jax
"""

import argparse
import statistics

from _common import (
    Table,
    at_least_one,
    in_process,
    installed,
    machine,
    medians,
    numbers,
    peak_memory,
    ratio,
    sgemm_peak,
    times_of,
)
from _gpt import FORMULA, NAMES, USUAL, batch_of, flops, model_of, npformer_step

PEERS = {"torch": "torch", "compile": "torch", "jax": "jax"}
OWN = {"npformer": "auto", "1 worker": 1, "2 workers": 2}


def torch_step(size, compiled):
    import torch
    from _torch_gpt import torch_gpt

    model = torch_gpt(model_of(size))
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    groups = [
        {"params": matrices, "weight_decay": 0.1},
        {"params": vectors, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-4)
    ids, targets = (torch.from_numpy(x) for x in batch_of(size))
    run = torch.compile(model) if compiled else model

    def step():
        optimizer.zero_grad(set_to_none=True)
        logits = run(ids)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    return step


def jax_step(size):
    import jax
    import jax.numpy as jnp

    model = model_of(size)
    config, values = model.config, {k: jnp.asarray(v) for k, v in model.state_dict().items()}
    heads, layers, d = config.num_heads, config.num_layers, config.d_model
    ids, targets = (jnp.asarray(x) for x in batch_of(size))

    def norm(x, weight):
        mean = x.mean(-1, keepdims=True)
        variance = ((x - mean) ** 2).mean(-1, keepdims=True)
        return (x - mean) * jax.lax.rsqrt(variance + 1e-5) * weight

    def loss_of(values, ids, targets):
        batch, length = ids.shape
        x = values["inputs.token.weight"][ids] + values["inputs.position.weight"][:length]
        causal = jnp.tril(jnp.ones((length, length), bool))
        for i in range(layers):
            at = f"decoder.layers.{i}."
            h = norm(x, values[at + "self_attention_norm.weight"])
            q, k, v = (
                (h @ values[f"{at}self_attention.{part}_proj.weight"].T)
                .reshape(batch, length, heads, -1)
                .swapaxes(1, 2)
                for part in "qkv"
            )
            scores = q @ k.swapaxes(2, 3) / (d // heads) ** 0.5
            weights = jax.nn.softmax(jnp.where(causal, scores, -jnp.inf))
            a = (weights @ v).swapaxes(1, 2).reshape(batch, length, d)
            x = x + a @ values[at + "self_attention.out_proj.weight"].T
            h = norm(x, values[at + "feed_forward_norm.weight"])
            u = jax.nn.gelu(h @ values[at + "feed_forward.up.weight"].T, approximate=False)
            x = x + u @ values[at + "feed_forward.down.weight"].T
        x = norm(x, values["decoder.norm.weight"])
        logp = jax.nn.log_softmax(x @ values["inputs.token.weight"].T)
        return -jnp.take_along_axis(logp, targets[..., None], -1).mean()

    @jax.jit
    def step(values, m, v, t):
        loss, grads = jax.value_and_grad(loss_of)(values, ids, targets)
        length = jnp.sqrt(sum((g**2).sum() for g in grads.values()))
        scale = jnp.minimum(1.0, 1.0 / length)
        new = {}, {}, {}
        for name, p in values.items():
            g = grads[name] * scale
            mean = 0.9 * m[name] + 0.1 * g
            square = 0.999 * v[name] + 0.001 * g * g
            root = jnp.sqrt(square / (1 - 0.999**t)) + 1e-8
            decayed = p * (1 - 1e-4 * 0.1) if p.ndim >= 2 else p
            new[0][name] = decayed - 1e-4 * mean / (1 - 0.9**t) / root
            new[1][name], new[2][name] = mean, square
        return loss, *new

    zero = {name: jnp.zeros_like(p) for name, p in values.items()}
    state = [values, zero, zero, 1.0]

    def run():
        loss, *state[:3] = step(*state)
        state[3] += 1.0
        return float(loss)

    return run


def measure(side, size):
    """Print the median seconds of a step, the loss of the first, and the peak in megabytes."""
    step = {
        **{own: lambda workers=w: npformer_step(size, workers) for own, w in OWN.items()},
        "torch": lambda: torch_step(size, compiled=False),
        "compile": lambda: torch_step(size, compiled=True),
        "jax": lambda: jax_step(size),
    }[side]()
    loss = step()
    for _ in range(2):
        step()
    print(statistics.median(times_of(step, 3.0)), loss, peak_memory())


def compare(size, sides, rounds, peak):
    found = {side: [] for side in sides}
    for _ in range(rounds):
        for side in sides:
            environment = {} if side in OWN else {"NPFORMER_KEEP_MEMORY": "0"}
            printed = in_process(__file__, "--measure", side, size, environment=environment)
            found[side].append(numbers(printed))
    print(f"\n{NAMES[size]}: {flops(size) / 1e9:,.1f} GFLOPs of matmul a step\n")
    table = Table("", "a step", "of the peak", "peak memory", "first loss", "ratio")
    for side in sides:
        seconds, loss, memory = medians(found[side])
        times = ratio((x[0] for x in found[side]), (x[0] for x in found["npformer"]))
        table.add(
            side,
            f"{1e3 * seconds:.1f} ms",
            f"{100 * flops(size) / seconds / peak:.0f} %",
            f"{memory:,.0f} MB",
            f"{loss:.4f}",
            "" if side == "npformer" else f"{times:.2f}",
        )
    table.print()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=at_least_one, default=3)
    parser.add_argument("--sizes", nargs="+", choices=NAMES, default=USUAL)
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(*arguments.measure)
        return
    present = installed(PEERS[peer] for peer in arguments.peers)
    sides = [*OWN, *(peer for peer in arguments.peers if PEERS[peer] in present)]
    peak = sgemm_peak()
    print(f"{machine()}; float32 matmul at {peak / 1e9:,.0f} GFLOP/s")
    print(f"FLOPs of matmul: {FORMULA}")
    for size in arguments.sizes:
        compare(size, sides, arguments.rounds, peak)


if __name__ == "__main__":
    main()
