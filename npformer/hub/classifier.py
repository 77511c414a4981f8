r"""What an image shows, of what it may show: a CLIP compares it with a sentence for each.

Forward, for an image x and labels l_1 ... l_n
    (1)  u = image tower(x)                 unit vector                       (D,)
    (2)  v_i = text tower("a photo of a l_i.")                                (n, D)
    (3)  p = softmax(exp(tau) V u)          tau: the temperature it learned   (n,)

References
----------
Radford et al. (2021), arXiv:2103.00020, section 3.1, also for the sentence.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import functional as F
from ..core.arrays import Array
from ..core.errors import CheckpointError
from ..formats import Tokenizer, open_tokenizer
from ..models import CLIP
from ..recipes._settings import InputError
from .images import Preparation, open_preparation
from .packages import find_weights

TEMPLATE = "a photo of a {}."


class ImageClassifier:
    """A CLIP that chooses among labels it was never trained on.

    Parameters
    ----------
    model : CLIP
    tokenizer : Tokenizer
    prepare : Preparation
        Brings an image to what the model expects.

    Raises
    ------
    CheckpointError
        If the tokenizer has ids that the model has not, or images are brought to another size
        than the model's.
    """

    def __init__(self, model: CLIP, tokenizer: Tokenizer, prepare: Preparation) -> None:
        tokenizer.check(model.config.vocab_size)
        size = model.config.image_size
        made = prepare.size if prepare.crop is None else prepare.crop
        if made != (size, size):
            raise CheckpointError(
                f"images are prepared to be {made}, and the model sees {(size, size)} pixels; the "
                f"files of the folder do not belong together, so fetch it again"
            )
        self.model, self._tokenizer, self._prepare = model, tokenizer, prepare

    @classmethod
    def open(cls, model: str | os.PathLike[str]) -> "ImageClassifier":
        """Open a CLIP folder.

        Raises
        ------
        InputError, FileNotFoundError
            If it is not there, or lacks a part.
        CheckpointError
            If it is broken, describes another kind of model, or prepares images in a way that is
            not known here.
        MissingExtraError
            Without the extra ``hub``.
        """
        folder = find_weights(model)
        clip = CLIP.from_pretrained(folder)
        return cls(clip, open_tokenizer(folder), open_preparation(folder))

    def classify(
        self, images: Sequence[Any], labels: Sequence[str], *, template: str = TEMPLATE
    ) -> Array:
        """Return how well each label fits each image, beside the others.

        Parameters
        ----------
        images : sequence of PIL.Image.Image
            In red, green and blue, as `read_image` returns them.
        labels : sequence of str
            At least two, all different.
        template : str, optional
            The sentence that each is put into, in place of ``{}``.

        Returns
        -------
        shares : (len(images), len(labels)) float32 ndarray
            Equation (3): rows sum to 1.

        Raises
        ------
        InputError
            If labels or the template make no sense, or a sentence is too long for the model.
        """
        ids, mask = self._sentences(labels, template)
        v = self.model.encode_text(ids, mask)  # (2)
        u = self.model.encode_image(np.stack([self._prepare(image) for image in images]))  # (1)
        logits = u @ v.T * np.exp(self.model.log_scale.value)
        shares: Array = F.softmax(logits)[0]  # (3)
        return shares

    def _sentences(self, labels: Sequence[str], template: str) -> tuple[Array, Array]:
        if template.count("{}") != 1:
            raise InputError(f"the template is {template!r}; expected one {{}}, for the label")
        blank = [label for label in labels if not label.strip()]
        if len(labels) < 2 or len(set(labels)) < len(labels) or blank:
            raise InputError(
                f"the labels are {', '.join(map(repr, labels)) or 'none'}; expected at least two, "
                f"all different, none empty: their shares are compared with each other"
            )
        longest = self.model.config.max_len
        sentences = [template.replace("{}", label) for label in labels]
        ids, mask, _ = self._tokenizer.encode_batch(sentences)
        if ids.shape[1] > longest:
            at = int(np.argmax(mask.sum(axis=1)))
            raise InputError(
                f"{sentences[at][:60]!r} has {ids.shape[1]} tokens, and the model reads {longest}; "
                f"shorten it"
            )
        end = self.model.config.end_token
        if end is not None and not (ids == end).any(axis=1).all():
            raise CheckpointError(
                f"the tokenizer does not end texts with the token {end}, as the model expects "
                f"(eos_token_id); they do not belong together, so fetch both from one place"
            )
        return ids, mask
