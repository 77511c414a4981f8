"""A tiny language model whose tokens are bytes, and conversations that are written plainly."""

import numpy as np

from npformer.formats import Tokenizer
from npformer.hub import LanguageModel
from npformer.models import GPT, GPTConfig

END = 256


class Bytes:
    """What stands in for the library's tokenizer."""

    def no_truncation(self):
        pass

    def no_padding(self):
        pass

    def get_vocab(self, with_added_tokens):
        return {chr(i): i for i in range(END + 1)}

    def encode(self, text, add_special_tokens):
        self.ids = list(text.encode())
        return self

    def decode(self, ids, skip_special_tokens):
        return bytes(i for i in ids if i != END).decode(errors="replace")


class Plain:
    """What stands in for a chat template."""

    def render(self, messages):
        return "".join(f"{one['role'][0]}:{one['content']}\n" for one in messages) + "a:"


def tokenizer(template=None, ends=(END,)):
    return Tokenizer(Bytes(), "bytes", ends, template)


def language_model(template=None, max_len=256, ends=(END,)):
    config = GPTConfig(
        vocab_size=END + 1, max_len=max_len, d_model=16, num_heads=4, num_layers=2,
        num_kv_heads=2, position="rotary", norm="rms", activation="swiglu", bias=False,
    )  # fmt: skip
    model = GPT(config, rng=np.random.default_rng(0))
    return LanguageModel(model, tokenizer(template, ends))
