"""Draw what docs/positions-heads-scale.md shows of positions; rewrites docs/images/positions.png.

    python docs/scripts/positions.py

Needs matplotlib (pip install 'npformer[cli]'). Trains two small models, in some seconds.
"""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import npformer.functional as F
from npformer import Run, biases
from npformer.ablate import TASKS, Parts, Reader, train
from npformer.masks import Span

IMAGES = Path(__file__).resolve().parents[1] / "images"
LENGTH, WIDTH, HEADS, STEPS, BACK = 32, 32, 4, 200, 3


def cosines(vectors):
    """Return the inner products of the vectors' directions."""
    unit = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return unit @ unit.T


def attention(model):
    """Return the head's weights that are most at `BACK` places before, where it is, and how much.

    The weights are those on one sequence that was not trained on.
    """
    ids, _ = TASKS["back"]().draw(np.random.default_rng(1), 1, LENGTH, True)
    run = Run(record=("attention",))
    model.forward(ids, run=run)
    found = []
    for number, (_, of_layer) in enumerate(run.recorded["attention"], 1):
        for head, weights in enumerate(of_layer[0], 1):
            found.append((np.diagonal(weights, -BACK).mean(), number, head, weights))
    share, number, head, weights = max(found, key=lambda one: one[0])
    return weights, number, head, share


def main():
    task = TASKS["back"]()
    parts = {p: Parts(task.tokens, LENGTH, p) for p in ("learned", "rotary")}
    drawn = Reader(parts["learned"], np.random.default_rng([0, 0]))
    trained = {name: train(task, one, STEPS, 0).model for name, one in parts.items()}
    places = np.arange(LENGTH)
    waves, _ = F.sinusoidal(np.zeros((LENGTH, WIDTH)), places)
    turned, _ = F.rotary(np.ones((LENGTH, WIDTH)), places)
    whole = Span(0, LENGTH, LENGTH)
    slopes = biases.alibi(HEADS).tile((0,), whole, whole)
    table = np.array(drawn.positions.weight.value)
    learned = np.array(trained["learned"].positions.weight.value)
    print("mean cosine of positions at a distance of   1      2      3      8     16")
    for name, vectors in (
        ("sinusoidal", waves),
        ("learned, as drawn", table),
        ("learned, trained", learned),
    ):
        means = [np.diagonal(cosines(vectors), d).mean() for d in (1, 2, 3, 8, 16)]
        print(f"{name:40}" + "".join(f"{mean:7.2f}" for mean in means))
    panels = [
        ("sinusoidal: position by coordinate", waves, "RdBu_r", 1.0),
        ("sinusoidal: cosines of positions", cosines(waves), "RdBu_r", 1.0),
        ("rotary: cosines of a vector, turned", cosines(turned), "RdBu_r", 1.0),
        ("ALiBi: bias of the first head", np.where(np.tri(LENGTH), slopes, np.nan), "Blues_r", 0.0),
        ("learned, as drawn: cosines", cosines(table), "RdBu_r", 1.0),
        ("learned, trained: cosines", cosines(learned), "RdBu_r", 1.0),
    ]
    for name in ("learned", "rotary"):
        weights, number, head, share = attention(trained[name])
        print(
            f"{name}: head {head} of layer {number} gives {100 * share:.0f} % of its weight to "
            f"the place {BACK} back"
        )
        panels.append((f"{name}, trained: attention of a head", weights, "Blues", None))
    figure = Figure(figsize=(13.0, 6.6), dpi=150, layout="constrained")
    for axes, (title, values, colours, top) in zip(figure.subplots(2, 4).flat, panels, strict=True):
        low = -1.0 if top == 1.0 else None
        image = axes.imshow(values, cmap=colours, vmin=low, vmax=top, interpolation="nearest")
        axes.set_title(title, fontsize=10, loc="left")
        axes.tick_params(labelsize=7)
        figure.colorbar(image, ax=axes, fraction=0.046, pad=0.02).ax.tick_params(labelsize=7)
    figure.savefig(IMAGES / "positions.png")


if __name__ == "__main__":
    main()
