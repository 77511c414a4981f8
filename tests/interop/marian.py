"""A small Marian folder of transformers' making, with tokenizers that SentencePiece has learned."""

import json

import sentencepiece
import torch
import transformers
from interop.hugging_face import silently

ENGLISH = (
    "the cat sleeps on the table",
    "a dog reads the old book in the garden",
    "where is the house of my brother?",
    "we saw two birds near the river",
    "she gave him bread and water, and he was glad.",
    "tomorrow the children will sing a song",
)
SPANISH = (
    "el gato duerme sobre la mesa",
    "un perro lee el viejo libro en el jardín",
    "¿dónde está la casa de mi hermano?",
    "vimos dos pájaros cerca del río",
    "ella le dio pan y agua, y él se alegró.",
    "mañana los niños cantarán una canción",
)
SIZES = {
    "d_model": 32,
    "max_position_embeddings": 40,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "activation_function": "swish",
    "scale_embedding": True,
}


def learned(path, texts):
    """Let SentencePiece learn a model, and return its pieces."""
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts * 20),
        model_prefix=str(path.with_suffix("")),
        vocab_size=70,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    path.with_suffix(".model").rename(path)
    path.with_suffix(".vocab").unlink()
    one = sentencepiece.SentencePieceProcessor(model_file=str(path))
    return [one.id_to_piece(i) for i in range(3, one.get_piece_size())]


def marian_folder(folder, seed=0, languages=(), size=0.35, **options):
    """Write the folder; return transformers' model and tokenizer."""
    folder.mkdir(exist_ok=True)
    pieces = learned(folder / "source.spm", ENGLISH) + learned(folder / "target.spm", SPANISH)
    known = ["</s>", "<unk>", *languages, *dict.fromkeys(pieces), "<pad>"]
    (folder / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(known)}))
    tokenizer = silently(
        transformers.MarianTokenizer,
        *(str(folder / name) for name in ("source.spm", "target.spm", "vocab.json")),
    )
    pad = len(known) - 1
    tokens = {"eos_token_id": 0, "pad_token_id": pad, "decoder_start_token_id": pad}
    config = transformers.MarianConfig(
        vocab_size=len(known), **SIZES, **tokens, forced_eos_token_id=None, **options
    )
    torch.manual_seed(seed)
    model = transformers.MarianMTModel(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "embed_positions" not in name:
                parameter += size * torch.randn_like(parameter)
        model.final_logits_bias += torch.randn_like(model.final_logits_bias)
        model.final_logits_bias[0, 0] += 3  # else no text would end
        model.final_logits_bias[0, pad] += 12  # nor would padding be wanted, which is forbidden
    model.generation_config = transformers.GenerationConfig(**tokens, bad_words_ids=[[pad]])
    model.save_pretrained(folder)
    silently(tokenizer.save_pretrained, folder)
    return model, tokenizer
