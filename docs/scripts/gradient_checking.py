"""Measure and draw what docs/gradient-checking.md says; rewrites docs/images/gradcheck-*.png.

    python docs/scripts/gradient_checking.py steps|traps

Prints one of the page's tables and draws the picture that goes with it. Needs matplotlib
(pip install 'npformer[cli]').
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

import npformer
import npformer.functional as F

IMAGES = Path(__file__).resolve().parents[1] / "images"
DRAWS = 25
INK, RED, BLUE, GREY = "#222222", "#c0392b", "#2471a3", "#8a8a8a"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", choices=("steps", "traps"))
    table = parser.parse_args().table
    IMAGES.mkdir(parents=True, exist_ok=True)
    draw_step_sizes() if table == "steps" else draw_traps()


# ---------------------------------------------------------------- error against step size


def objective(x, dy):
    """Return the sum of dy over GELU of a LayerNorm: smooth, and neither linear nor quadratic."""
    one = np.ones(x.shape[-1], x.real.dtype)
    return np.sum(dy * F.gelu(F.layer_norm(x, one)[0])[0])


def step_size_errors():
    """Relative errors of three numeric derivatives by step size, the median of many directions."""
    steps = 10.0 ** np.arange(-20, 0.01, 0.25)
    found = [errors_at_a_point(np.random.default_rng(seed), steps) for seed in range(DRAWS)]
    return steps, {name: np.median([one[name] for one in found], axis=0) for name in found[0]}


def errors_at_a_point(rng, steps):
    """Return them along one direction, from one point."""
    x, dy, v = rng.standard_normal((3, 4, 16))
    h = 1e-30
    exact = objective(x + 1j * h * v, dy).imag / h
    errors = {
        "complex step, float64": [],
        "central difference, float64": [],
        "central difference, float32": [],
    }
    for step in steps:
        found = objective(x + 1j * step * v, dy).imag / step
        errors["complex step, float64"].append(abs(found / exact - 1))
        for dtype in (np.float64, np.float32):
            a, b = (objective((x + s * step * v).astype(dtype), dy.astype(dtype)) for s in (1, -1))
            found = (float(a) - float(b)) / (2 * step)
            errors[f"central difference, {np.dtype(dtype)}"].append(abs(found / exact - 1))
    return {name: np.maximum(found, 1e-17) for name, found in errors.items()}


def draw_step_sizes():
    steps, errors = step_size_errors()
    figure = Figure(figsize=(7.2, 4.2), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    print("| method | best relative error | at step |\n|---|---|---|")
    for (name, found), colour in zip(errors.items(), (BLUE, INK, RED), strict=True):
        axes.loglog(steps, found, color=colour, label=name)
        best = float(np.min(found))
        largest = steps[found < 2.0 * best].max()
        at = power(largest) if best > 1e-15 else f"any below {power(largest)}"
        print(f"| {name} | {bounded(best, 1e-15)} | {at} |")
    axes.set_xlabel("step size h")
    axes.set_ylabel("relative error of the derivative")
    axes.set_title(f"GELU of a LayerNorm: the median along {DRAWS} directions")
    axes.set_ylim(1e-17, 1e2)
    axes.grid(True, color="#e5e5e5")
    axes.legend(frameon=False)
    figure.savefig(IMAGES / "gradcheck-step-size.png")


def bounded(number, rounding):
    """Write a number, or that it is below where rounding decides."""
    return power(number) if number > rounding else f"below {power(rounding)}"


def power(number):
    """Write a positive number as one digit and a power of ten."""
    digit, exponent = f"{number:.0e}".split("e")
    tens = f"10^{{{int(exponent)}}}"
    return f"${tens}$" if digit == "1" else rf"${digit} \cdot {tens}$"


# ---------------------------------------------------------------- what a naive check lets pass


def naive_error(forward, backward, *inputs):
    """Return what the usual home-made check reports.

    Central differences of the sum of the output, so an upstream gradient of ones, at the point
    as it is; the error is the largest difference over the larger of 1 and the gradient.
    """
    y, saved = forward(*inputs)
    gradients = backward(np.ones_like(y), saved)
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)
    worst, h = 0.0, 1e-5
    for which, analytic in enumerate(gradients):
        numeric = np.zeros_like(analytic)
        for index in np.ndindex(analytic.shape):
            ends = []
            for sign in (1, -1):
                moved = [x.copy() for x in inputs]
                moved[which][index] += sign * h
                ends.append(np.sum(forward(*moved)[0]))
            numeric[index] = (ends[0] - ends[1]) / (2 * h)
        scale = np.maximum(1.0, np.maximum(np.abs(analytic), np.abs(numeric)))
        worst = max(worst, float(np.max(np.abs(analytic - numeric) / scale)))
    return worst


def softmax_times_two(dy, saved):
    return 2 * F.softmax_backward(dy, saved)


def layer_norm_without_projection(dy, saved):
    dx, dweight, dbias = F.layer_norm_backward(dy, saved)
    dxhat = dy * saved.weight
    lost = saved.xhat * np.mean(dxhat * saved.xhat, axis=-1, keepdims=True) * saved.r
    return dx + lost, dweight, dbias


def layer_norm_without_weight(dy, saved):
    _, dweight, dbias = F.layer_norm_backward(dy, saved)
    dx, _, _ = F.layer_norm_backward(dy, saved._replace(weight=np.ones_like(saved.weight)))
    return dx, dweight, dbias


def linear_divided_by_batch(dy, saved):
    dx, dweight, dbias = F.linear_backward(dy, saved)
    return dx, dweight / len(dy), dbias / len(dy)


def tiny_times_two(dy, saved):
    return 2 * 1e-6 * F.tanh_backward(dy, saved)


def tiny(x):
    y, saved = F.tanh(x)
    return 1e-6 * y, saved


def attention_in_training(q, k, v):
    return F.attention(q, k, v, dropout=0.5, rng=np.random.default_rng(0))


def attention_without_dropout_mask(dy, saved):
    return F.attention_backward(dy, saved._replace(rate=0.0))[:3]


def attention_in_evaluation(q, k, v):
    return F.attention(q, k, v)


class Trap(NamedTuple):
    """A wrong gradient, in the picture's words and the table's, and how either side checks it."""

    label: str
    name: str
    hidden_by: str
    pair: tuple
    inputs: tuple
    better: tuple | None = None  # the pair that gradcheck is given, if another
    better_inputs: tuple | None = None


def traps():
    """Return the six."""
    rng = np.random.default_rng(1)
    x, w, b = rng.standard_normal((3, 6)), np.ones(6), np.zeros(6)
    qkv = rng.standard_normal((3, 2, 4, 5))
    weight, bias = rng.standard_normal((4, 6)), rng.standard_normal(4)
    return [
        Trap(
            "softmax: factor 2",
            "softmax, twice too large",
            "**all ones**: the sum of a softmax is 1 whatever $x$ is, so $dx = 0$, and so is "
            "twice that",
            (F.softmax, softmax_times_two),
            (x,),
        ),
        Trap(
            "LayerNorm: no projection on x̂",
            r"LayerNorm without its projection on $\hat x$",
            r"**all ones**: at weight 1, $\overline{dy\,\hat x} = \overline{\hat x} = 0$ and the "
            "lost term is 0",
            (F.layer_norm, layer_norm_without_projection),
            (x, w, b),
        ),
        Trap(
            "LayerNorm: weight forgotten",
            "LayerNorm that forgets its weight",
            "**initialisation**: the weight is 1",
            (F.layer_norm, layer_norm_without_weight),
            (x, w, b),
        ),
        Trap(
            "linear: divided by the batch",
            "linear, divided by the batch",
            "**batch 1**",
            (F.linear, linear_divided_by_batch),
            (x[:1], weight, bias),
            better_inputs=(x, weight, bias),
        ),
        Trap(
            "attention: dropout mask lost",
            "attention without its dropout mask",
            "**dropout off** during the check",
            (attention_in_evaluation, attention_without_dropout_mask),
            tuple(qkv),
            better=(attention_in_training, attention_without_dropout_mask),
        ),
        Trap(
            "1e-6 tanh: factor 2",
            r"$10^{-6} \tanh x$, twice too large",
            "**absolute tolerance**: the whole gradient is smaller than it",
            (tiny, tiny_times_two),
            (x,),
        ),
    ]


def draw_traps():
    rows = []
    print("| wrong gradient | what hides it | naive | `gradcheck` |\n|---|---|---|---|")
    for trap in traps():
        naive = naive_error(*trap.pair, *trap.inputs)
        report = npformer.gradcheck(trap.better or trap.pair, *(trap.better_inputs or trap.inputs))
        seen = max(entry.worst_error for entry in report.entries)
        families = [e.family for e in report.entries if e.verdict == "fail"]
        family = next((family for family in families if family != "unrelated"), families[0])
        rows.append((trap.label, naive, seen, family))
        print(
            f"| {trap.name} | {trap.hidden_by} | {bounded(naive, 1e-10)} | {seen:.2f}, {family} |"
        )
    figure = Figure(figsize=(7.2, 3.8), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    places = np.arange(len(rows))[::-1]
    axes.barh(places + 0.2, [max(r[1], 1e-16) for r in rows], 0.36, left=1e-17, color=GREY)
    axes.barh(places - 0.2, [r[2] for r in rows], 0.36, left=1e-17, color=RED)
    axes.axvline(1e-4, color=INK, linewidth=0.8, linestyle="--")
    axes.text(1.3e-4, len(rows) - 0.45, "usual tolerance", fontsize=8, color=INK)
    axes.set_xscale("log")
    axes.set_xlim(1e-17, 10)
    axes.set_ylim(-0.6, len(rows) - 0.1)
    axes.set_yticks(places, [r[0] for r in rows])
    axes.set_xlabel("error that the check reports (grey: naive check, red: gradcheck)")
    axes.set_title("Six wrong gradients, and how much of each is seen")
    figure.savefig(IMAGES / "gradcheck-traps.png")


if __name__ == "__main__":
    main()
