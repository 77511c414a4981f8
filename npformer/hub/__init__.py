"""Real models: where to have their weights from, and what to do with them.

`packages` knows packages of the Python index that carry weights; `SentenceEncoder` makes vectors
of sentences, `LanguageModel` writes and answers, `Transcriber` writes down what it hears,
`Translator` translates, `ImageClassifier` says what an image shows. The commands ``npformer
models``, ``embed``, ``generate``, ``chat``, ``transcribe``, ``translate`` and ``classify`` are thin
layers over these.
"""

from .._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "PACKAGES": "packages",
        "WeightsPackage": "packages",
        "find_weights": "packages",
        "SentenceEncoder": "sentences",
        "LanguageModel": "language_model",
        "Written": "language_model",
        "Chat": "chat",
        "Transcriber": "transcriber",
        "Transcript": "transcriber",
        "Translator": "translator",
        "ImageClassifier": "classifier",
        "read_image": "images",
    },
)
