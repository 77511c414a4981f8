"""A small Whisper folder of transformers' making; its tokens are bytes and Whisper's marks."""

import tokenizers
import torch
import transformers

LANGUAGES = ("en", "de", "fr")
MARKS = (
    "<|endoftext|>",
    "<|startoftranscript|>",
    *(f"<|{language}|>" for language in LANGUAGES),
    "<|translate|>",
    "<|transcribe|>",
    "<|nospeech|>",
    "<|notimestamps|>",
)
TIMES = tuple(f"<|{i / 50:.2f}|>" for i in range(51))
SIZES = {
    "num_mel_bins": 8,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "d_model": 32,
    "max_source_positions": 50,  # one second
    "max_target_positions": 30,
}


def whisper_tokenizer(marks=MARKS):
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    made = tokenizers.Tokenizer(
        tokenizers.models.BPE({one: i for i, one in enumerate(alphabet)}, [])
    )
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    made.add_special_tokens(list(marks))
    made.add_tokens([tokenizers.AddedToken(one, normalized=False) for one in TIMES])
    return made


def whisper_folder(folder, seed=0, many=True, size=0.4, **options):
    """Write the folder; return transformers' model."""
    made = whisper_tokenizer()
    folder.mkdir(exist_ok=True)
    made.save(str(folder / "tokenizer.json"))
    ids = {one: made.token_to_id(one) for one in MARKS}
    end, start = ids["<|endoftext|>"], ids["<|startoftranscript|>"]
    tokens = {
        "bos_token_id": end,
        "eos_token_id": end,
        "pad_token_id": end,
        "decoder_start_token_id": start,
        # Times, too, which are never written here, and by theirs unless they are forbidden.
        "suppress_tokens": [5, 70, 71, start, *map(made.token_to_id, TIMES)],
        "begin_suppress_tokens": [made.token_to_id("Ġ"), end],
    }
    config = transformers.WhisperConfig(
        vocab_size=made.get_vocab_size(), **SIZES, **tokens, **options
    )
    torch.manual_seed(seed)
    model = transformers.WhisperForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:  # a bias of its last norm would outweigh all else
                parameter += size * torch.randn_like(parameter)
        # Some tokens are likely always: what is not to be written first, or at all, and the end.
        table = model.proj_out.weight
        table[[end, *tokens["begin_suppress_tokens"]]] *= 1.5
    given = {
        **tokens,
        "is_multilingual": many,
        "no_timestamps_token_id": ids["<|notimestamps|>"],
        "return_timestamps": False,
        "max_length": config.max_target_positions,
    }
    if many:
        given["lang_to_id"] = {f"<|{one}|>": ids[f"<|{one}|>"] for one in LANGUAGES}
        given["task_to_id"] = {one: ids[f"<|{one}|>"] for one in ("translate", "transcribe")}
    model.generation_config = transformers.GenerationConfig(**given)
    model.save_pretrained(folder)
    return model
