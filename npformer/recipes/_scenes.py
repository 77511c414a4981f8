"""Scenes: two coloured shapes on a dark ground, and the sentence that says what they are.

``"a large red ring above a small blue square"``: every sentence names one scene but for where
exactly the shapes are, how large within their kind, and how light the ground is; the generator
draws these. There are `len(SENTENCES)` of them, so that some can be held out whole: a model that
names them right has learnt what the words mean, not which picture goes with which line.
"""

from collections.abc import Callable

import numpy as np

from ..core.arrays import Array

SIZE = 32  # pixels, square
SIZES = {"small": 3.2, "large": 5.2}  # radius in pixels, give or take a tenth
COLOURS = {
    "red": (0.90, 0.16, 0.16),
    "green": (0.16, 0.74, 0.24),
    "blue": (0.20, 0.36, 0.94),
    "yellow": (0.96, 0.86, 0.16),
    "white": (0.96, 0.96, 0.96),
    "pink": (0.96, 0.50, 0.76),
}
_EDGE = 0.7  # pixels over which a shape fades into the ground

# How far a point (x, y) is outside of a shape of radius 1; negative inside.
SHAPES: dict[str, Callable[[Array, Array], Array]] = {
    "circle": lambda x, y: np.hypot(x, y) - 1.0,
    "square": lambda x, y: np.maximum(np.abs(x), np.abs(y)) - 0.9,
    "triangle": lambda x, y: np.maximum(0.87 * np.abs(x) - 0.5 * y, y) - 0.5,
    "cross": lambda x, y: np.maximum(
        np.minimum(np.abs(x), np.abs(y)) - 0.3, np.maximum(np.abs(x), np.abs(y)) - 1.0
    ),
    "ring": lambda x, y: np.abs(np.hypot(x, y) - 0.75) - 0.25,
}
RELATIONS = {"above": (0.0, 1.0), "left of": (1.0, 0.0)}  # from the first to the second

OBJECTS = [f"{size} {colour} {shape}" for size in SIZES for colour in COLOURS for shape in SHAPES]
SENTENCES = [
    f"a {first} {relation} a {second}"
    for first in OBJECTS
    for relation in RELATIONS
    for second in OBJECTS
]


def draw(sentence: str, rng: np.random.Generator) -> Array:
    """Draw the scene that a sentence describes.

    Parameters
    ----------
    sentence : str
        One of `SENTENCES`.
    rng : numpy.random.Generator

    Returns
    -------
    (3, SIZE, SIZE) float32 ndarray
        Red, green and blue, from 0 to 1.
    """
    relation = next(words for words in RELATIONS if f" {words} a " in sentence)
    first, second = sentence.removeprefix("a ").split(f" {relation} a ")
    along = np.array(RELATIONS[relation])
    middle = SIZE / 2 + rng.uniform(-1.5, 1.5, 2)
    apart = along * rng.uniform(6.5, 8) + (1 - along) * rng.uniform(-5, 5)
    image = np.empty((3, SIZE, SIZE))
    image[:] = rng.uniform(0.02, 0.18)
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    for words, centre in ((first, middle - apart), (second, middle + apart)):
        size, colour, shape = words.split(" ")
        radius = SIZES[size] * rng.uniform(0.9, 1.1)
        outside = SHAPES[shape]((x - centre[0]) / radius, (y - centre[1]) / radius) * radius
        cover = np.clip(0.5 - outside / _EDGE, 0, 1)
        image += cover * (np.array(COLOURS[colour])[:, None, None] - image)
    return image.astype(np.float32)
