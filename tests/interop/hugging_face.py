"""Models of transformers with random weights, in folders, as an oracle."""

import contextlib
import copy
import json
import warnings

import numpy as np
import torch
import transformers
from safetensors.numpy import load_file, save_file

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
torch.set_num_threads(1)

VOCAB, LENGTH = 23, 7
GPT2 = {"vocab_size": VOCAB, "n_positions": 9, "n_embd": 16, "n_head": 4, "n_layer": 2}
LLAMA = {
    "vocab_size": VOCAB,
    "max_position_embeddings": 9,
    "hidden_size": 16,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "intermediate_size": 20,
}
BERT = LLAMA | {"layer_norm_eps": 1e-12}
# Of a padding token, transformers withholds the gradient of its row; all others have theirs.
NO_TOKENS = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}

# Of each model_type: transformers' class, and options of its configuration.
CASES = {
    "gpt2": ("GPT2LMHeadModel", GPT2),
    "gpt2, other options": (
        "GPT2LMHeadModel",
        GPT2 | {"n_inner": 24, "activation_function": "relu", "layer_norm_epsilon": 1e-2},
    ),
    "gpt2, untied": (
        "GPT2LMHeadModel",
        GPT2 | {"n_layer": 1, "tie_word_embeddings": False, "activation_function": "gelu"},
    ),
    "gpt2, base": ("GPT2Model", GPT2 | {"activation_function": "silu", "n_head": 1}),
    "llama": ("LlamaForCausalLM", LLAMA),
    "llama, grouped and tied": (
        "LlamaForCausalLM",
        LLAMA | {"num_key_value_heads": 2, "tie_word_embeddings": True, "rms_norm_eps": 1e-2},
    ),
    "llama, biases": (
        "LlamaForCausalLM",
        LLAMA
        | {
            "attention_bias": True,
            "mlp_bias": True,
            "num_key_value_heads": 1,
            "rope_parameters": {"rope_type": "default", "rope_theta": 50.0},
        },
    ),
    "llama, base": ("LlamaModel", LLAMA | {"num_key_value_heads": 2}),
    "bert": ("BertForMaskedLM", BERT),
    "bert, both heads": (
        "BertForPreTraining",
        BERT | {"hidden_act": "gelu_new", "type_vocab_size": 3, "layer_norm_eps": 1e-2},
    ),
    "bert, untied": (
        "BertForMaskedLM",
        BERT | {"tie_word_embeddings": False, "hidden_act": "relu"},
    ),
    "bert, base": ("BertModel", BERT),
}
WITH_LOSS = [case for case, (kind, _) in CASES.items() if "For" in kind or "LMHead" in kind]
BASE = [case for case in CASES if case not in WITH_LOSS]


def theirs(case, seed=0, **options):
    """A model of transformers, its parameters away from their initial values."""
    return drawn(*CASES[case], seed, **options)


def drawn(name, given, seed=0, **options):
    """One of transformers' classes with options, its parameters away from their initial values."""
    kind = getattr(transformers, name)
    torch.manual_seed(seed)
    config = kind.config_class(**given | NO_TOKENS | options, attn_implementation="eager")
    model = kind(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model


def saved(model, folder, **options):
    model.save_pretrained(folder, **options)
    return folder


def batch(case, seed=0):
    """ids, targets, mask (padded on the right), token types; as arrays."""
    rng = np.random.default_rng(seed)
    ids, targets = rng.integers(0, VOCAB, (2, 3, LENGTH))
    mask = np.ones((3, LENGTH), bool)
    mask[0, 4:] = mask[2, 6:] = False
    targets[~mask] = -100
    targets[1, :3] = -100
    types = rng.integers(0, 2, ids.shape) if case.startswith("bert") else None
    return ids, targets, mask, types


def run(model, case, *, seed=0):
    """What a model of transformers answers: logits, or hidden states of a base model."""
    ids, _, mask, types = batch(case, seed)
    options = {} if types is None else {"token_type_ids": torch.tensor(types)}
    answer = model(torch.tensor(ids), attention_mask=torch.tensor(mask).long(), **options)
    for name in ("logits", "prediction_logits", "last_hidden_state"):
        if name in answer:
            return answer[name]
    raise AssertionError(answer.keys())


def run_ours(model, case, *, seed=0):
    """The same of ours, of GPT and BERT."""
    ids, _, mask, types = batch(case, seed)
    if types is None:
        return model(ids, mask)
    hidden = model(ids, types, mask)
    return model.logits(hidden) if model.head is not None else hidden


def gradients(model, kind, folder):
    """Their gradients as parameters of ours: a copy has them in place of its weights."""
    twin = copy.deepcopy(model)
    own = dict(model.named_parameters())
    with torch.no_grad():
        for name, parameter in twin.named_parameters():
            grad = own[name].grad
            parameter.copy_(torch.zeros_like(parameter) if grad is None else grad)
    return kind.from_pretrained(saved(twin, folder), **CHANGES).state_dict()


CHANGES = {"dropout": 0.0}


def worst(got, want):
    """The largest difference beside the largest entry."""
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    assert got.shape == want.shape
    return float(np.max(np.abs(got - want)) / np.max(np.abs(want)))


def worst_gradient(got, want):
    """The worst of all parameters, and its name.

    A key's bias has a gradient of zero but for rounding (softmax does not see what all of a
    row's scores have alike), so no gradient is compared more finely than to a thousandth of the
    largest.
    """
    assert got.keys() == want.keys()
    floor = 1e-3 * max(np.abs(each).max() for each in want.values())
    return max(
        (float(np.abs(got[n] - want[n]).max() / max(np.abs(want[n]).max(), floor)), n) for n in want
    )


@contextlib.contextmanager
def config_of(folder):
    """A folder's configuration, to be changed."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    yield config
    path.write_text(json.dumps(config))


@contextlib.contextmanager
def weights_of(folder):
    """A folder's tensors by name, to be changed."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    yield tensors
    save_file(tensors, path, metadata={"format": "pt"})


def silently(function, *arguments, **options):
    """Call a function of transformers, whose deprecations are not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments, **options)
