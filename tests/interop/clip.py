"""A small CLIP folder of transformers' making: a tokenizer of bytes, and how images are seen."""

import json

import tokenizers
import torch
import transformers
from interop.hugging_face import silently
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

START, END = "<|startoftext|>", "<|endoftext|>"
SIZE = 24


def clip_tokenizer(folder):
    """Write CLIP's tokenizer, which has joined nothing; return transformers' own of it."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    tokens = [*alphabet, *(f"{one}</w>" for one in alphabet), START, END]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    made = silently(
        transformers.CLIPTokenizer,
        vocab=vocabulary, merges=[], bos_token=START, eos_token=END, unk_token=END, pad_token=END,
    )  # fmt: skip
    made.save_pretrained(folder)
    return made


def clip_folder(folder, seed=0, **image_options):
    """Write the folder; return transformers' model and processor."""
    folder.mkdir(exist_ok=True)
    tokenizer = clip_tokenizer(folder)
    tower = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
    }
    ids = {"bos_token_id": 512, "eos_token_id": 513, "pad_token_id": 513}
    text = tower | ids | {"vocab_size": len(tokenizer), "max_position_embeddings": 60}
    vision = tower | {"image_size": SIZE, "patch_size": 8}
    torch.manual_seed(seed)
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
    model = transformers.CLIPModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim:
                parameter += 0.2 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    given = {
        "size": {"shortest_edge": SIZE},
        "crop_size": {"height": SIZE, "width": SIZE},
        **image_options,
    }
    images = CLIPImageProcessorPil(**given)
    images.save_pretrained(folder)
    return model, transformers.CLIPProcessor(images, tokenizer)


def preparation_of(folder, **options):
    """Change what the folder says of images; None takes an option away."""
    path = folder / "preprocessor_config.json"
    given = {**json.loads(path.read_text()), **options}
    path.write_text(json.dumps({key: x for key, x in given.items() if x is not None}))
