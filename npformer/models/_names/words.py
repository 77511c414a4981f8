"""Their words for activations."""

# The first of those that mean the same is written.
ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
    "quick_gelu": "quick_gelu",
}


def word_of(activation: str) -> str:
    """Return their word for one of ours."""
    return next(word for word, meaning in ACTIVATIONS.items() if meaning == activation)
