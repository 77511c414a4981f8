r"""CLIP: images and texts as vectors of one space, trained to find each other.

Forward, for images (N, C, H, W), and texts as ids t (M, T)
    (1)  P = unfold(images)                 a row a patch, of all its channels  (N, G, C p^2)
    (2)  e = [a, P W_e^T] + W_pos           a: the class token, one for all     (N, 1 + G, D)
    (3)  h = stack(norm(e))                 layers/encoder.py; ends with a norm (N, 1 + G, D)
    (4)  u = normalize(W_u h_0)             of the class token                  (N, E)
    (5)  x = embed(t)                       _inputs.py                          (M, T, D')
    (6)  g = stack(x)                       under a causal mask; ends likewise  (M, T, D')
    (7)  v = normalize(W_v g_end)           of the token that ends the text     (M, E)
    (8)  c = u v^T                          cosines                             (N, M)
    (9)  s = exp(tau) c                     logits; tau is learned              (N, M)
    (10) L = contrastive_loss(u, v, tau)    with (8) and (9) in one; N = M
                                            functional/contrastive_loss.py

Backward, given ds or dL
    (10') du, dv, dtau                      together with (9') and (8')
    (9')  dc = exp(tau) ds,  dtau = sum_ij ds_ij s_ij
    (8')  du = dc v,  dv = dc^T u           functional/linear.py
    (7')  dg_end and dW_v; 0 at all other tokens
    (6')  dx
    (5')  dW_table, and that of the positions, by embedding's backward
    (4')  dh_0 and dW_u; 0 at all other tokens
    (3')  de by the stack's and the norm's
    (2')  dW_pos; da is the sum over the images; dP and dW_e by a linear map's
    (1')  dimages: each entry stands in one patch, so that its gradient is moved back

A text's end is the first token of an id that says so, or, as in the paper, the token of the
largest id: there the end of text is the last of the vocabulary. Under the causal mask it alone
sees the whole text.
"""

import math
import warnings
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from .. import functional as F
from .. import masks
from ..core.arrays import (
    Array,
    BoolArray,
    check_choice,
    check_count,
    check_flag,
    check_floats,
    check_gradient,
    check_positive,
    check_rate,
    check_size,
)
from ..core.initialize import constant, skeleton
from ..core.layer import Layer
from ..core.run import Run
from ..functional.contrastive_loss import ContrastiveLossSaved
from ..functional.embedding import EmbeddingSaved
from ..functional.l2_normalize import L2NormalizeSaved
from ..functional.linear import LinearSaved
from ..layers import Dropout, Embedding, Encoder, LayerNorm, LearnedPositionalEncoding, Linear
from ..layers._heads import check_heads
from ..layers.encoder import EncoderSaved
from ..layers.feed_forward import ACTIVATIONS
from ._config import check_config_type
from ._initialize import initialize_weights
from ._inputs import (
    InputEmbedding,
    InputEmbeddingSaved,
    check_batch,
    check_mask,
    of_keys,
    token_positions,
)
from ._model import Model


@dataclass(frozen=True)
class CLIPConfig:
    """What a `CLIP` is built from; the defaults are the paper's ViT-B/32."""

    vocab_size: int = 49408  # number of token ids
    max_len: int = 77  # longest text
    image_size: int = 224  # height and width of an image, in pixels
    patch_size: int = 32  # of a patch; divides image_size
    num_channels: int = 3  # of an image
    d_embed: int = 512  # width of the space that both meet in
    image_d_model: int = 768  # width of the stream of patches
    image_num_heads: int = 12
    image_num_layers: int = 12
    image_d_ff: int | None = None  # width inside the feed-forward layers; None: 4 image_d_model
    text_d_model: int = 512  # width of the stream of tokens
    text_num_heads: int = 8
    text_num_layers: int = 12
    text_d_ff: int | None = None  # None: 4 text_d_model
    end_token: int | None = None  # id that ends a text; None: the largest of each text (the paper)
    dropout: float = 0.0  # of attention weights, branches and embeddings
    norm_eps: float = 1e-5
    activation: str = "quick_gelu"  # see layers.FeedForward; "gelu" in many later models
    checkpoint: bool = False  # run each layer again in backward: less memory, more time

    def __post_init__(self) -> None:
        owner = "CLIPConfig"
        check_size(
            owner,
            vocab_size=self.vocab_size,
            max_len=self.max_len,
            image_size=self.image_size,
            patch_size=self.patch_size,
            num_channels=self.num_channels,
            d_embed=self.d_embed,
        )
        if self.image_size % self.patch_size:
            raise ValueError(
                f"{owner}: image_size {self.image_size} is not divisible by patch_size "
                f"{self.patch_size}; an image is cut into whole patches"
            )
        for tower in ("image", "text"):
            d_model, heads, layers, d_ff = (
                getattr(self, f"{tower}_{name}")
                for name in ("d_model", "num_heads", "num_layers", "d_ff")
            )
            sizes = {"num_layers": layers, "d_ff": 1 if d_ff is None else d_ff}
            check_size(owner, **{f"{tower}_{name}": size for name, size in sizes.items()})
            check_heads(f"{owner}, of the {tower}", d_model, heads, heads)
        if self.end_token is not None:
            check_count(owner, end_token=self.end_token)
        check_rate(owner, "dropout", self.dropout)
        check_positive(owner, norm_eps=self.norm_eps)
        check_choice(owner, "activation", self.activation, [*ACTIVATIONS, "swiglu"])
        check_flag(owner, "checkpoint", self.checkpoint)


def _stack(config: CLIPConfig, tower: str, dtype: DTypeLike) -> Encoder:
    """Build the stack of one of the towers."""
    return Encoder(
        getattr(config, f"{tower}_num_layers"),
        getattr(config, f"{tower}_d_model"),
        getattr(config, f"{tower}_num_heads"),
        getattr(config, f"{tower}_d_ff"),
        dropout=config.dropout,
        activation=config.activation,
        norm_position="pre",
        norm_eps=config.norm_eps,
        checkpoint=config.checkpoint,
        dtype=dtype,
    )


class ProjectionSaved(NamedTuple):
    """What `Projection.backward` needs."""

    shape: tuple[int, ...]  # of h
    at: Array  # (batch,)  which token of each sequence
    linear: LinearSaved
    normalize: L2NormalizeSaved


class Projection(Layer):
    """One token of each sequence as a unit vector; equations (4) and (7) of the module.

    Attributes
    ----------
    linear : Linear
        Without a bias.
    """

    def __init__(
        self,
        d_model: int,
        d_embed: int,
        *,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.linear = Linear(d_model, d_embed, bias=False, rng=rng, dtype=dtype)

    def forward(
        self, h: Array, at: Array, *, run: Run | None = None
    ) -> tuple[Array, ProjectionSaved]:
        """Map the tokens `at` (batch,) of h (batch, length, d_model) to (batch, d_embed)."""
        z, linear_saved = self.linear.forward(h[np.arange(len(h)), at])
        y, normalize_saved = F.l2_normalize(z)  # (4), (7)
        return y, ProjectionSaved(h.shape, at, linear_saved, normalize_saved)

    def backward(self, dy: Array, saved: ProjectionSaved, run: Run | None = None) -> Array:
        """Return dh (batch, length, d_model)."""
        dz = F.l2_normalize_backward(dy, saved.normalize)  # (4'), (7')
        rows = self.linear.backward(dz, saved.linear)
        dh = np.zeros(saved.shape, rows.dtype)
        dh[np.arange(len(dh)), saved.at] = rows
        return dh


class PatchEmbeddingSaved(NamedTuple):
    """What `PatchEmbedding.backward` needs."""

    shape: tuple[int, ...]  # of the images
    linear: LinearSaved
    class_token: EmbeddingSaved
    position: Any


class PatchEmbedding(Layer):
    """Images to sequences: a class token, then the patches row by row; equations (1) and (2).

    Attributes
    ----------
    class_token : Embedding
        Of the one token.
    linear : Linear
        A patch, its channels one after another and each row by row, to a vector; without a bias.
    position : LearnedPositionalEncoding
    """

    def __init__(
        self,
        config: CLIPConfig,
        *,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.size, self.patch = config.image_size, config.patch_size
        self.channels = config.num_channels
        d_model, numbers = config.image_d_model, config.num_channels * config.patch_size**2
        self.class_token = Embedding(1, d_model, rng=rng, dtype=dtype)
        self.linear = Linear(numbers, d_model, bias=False, rng=rng, dtype=dtype)
        count = 1 + (self.size // self.patch) ** 2
        self.position = LearnedPositionalEncoding(d_model, count, rng=rng, dtype=dtype)

    def forward(
        self, images: Array, *, run: Run | None = None
    ) -> tuple[Array, PatchEmbeddingSaved]:
        """Map images (batch, channels, height, width) to (batch, 1 + patches, d_model)."""
        patches, linear_saved = self.linear.forward(self._unfold(images))  # (2)
        first, class_saved = self.class_token.forward(np.zeros((len(images), 1), np.int64))
        e = np.concatenate([first, patches], axis=1)
        e, position_saved = self.position.forward(e)
        return e, PatchEmbeddingSaved(images.shape, linear_saved, class_saved, position_saved)

    def backward(self, dy: Array, saved: PatchEmbeddingSaved, run: Run | None = None) -> Array:
        """Return dimages (batch, channels, height, width)."""
        de = self.position.backward(dy, saved.position)  # (2')
        self.class_token.backward(de[:, :1], saved.class_token)
        return self._fold(self.linear.backward(de[:, 1:], saved.linear), saved.shape)

    def _unfold(self, images: Array) -> Array:
        """Equation (1)."""
        p, n = self.patch, self.size // self.patch
        cut = images.reshape(len(images), self.channels, n, p, n, p).transpose(0, 2, 4, 1, 3, 5)
        patches: Array = cut.reshape(len(images), n * n, self.channels * p * p)
        return patches

    def _fold(self, patches: Array, shape: tuple[int, ...]) -> Array:
        """Equation (1')."""
        p, n = self.patch, self.size // self.patch
        cut = patches.reshape(len(patches), n, n, self.channels, p, p).transpose(0, 3, 1, 4, 2, 5)
        images: Array = cut.reshape(shape)
        return images


class ImageTowerSaved(NamedTuple):
    """What `ImageTower.backward` needs."""

    inputs: PatchEmbeddingSaved
    norm: Any
    dropout: Any
    stack: EncoderSaved | None
    projection: ProjectionSaved


class ImageTower(Layer):
    """Images to unit vectors; equations (1) to (4) of the module.

    Attributes
    ----------
    inputs : PatchEmbedding
    norm : LayerNorm
        Before the stack.
    encoder : Encoder
        Pre-norm; the norm at its end is the one of the class token.
    projection : Projection
    """

    def __init__(
        self,
        config: CLIPConfig,
        *,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        with skeleton():
            self.inputs = PatchEmbedding(config, dtype=dtype)
            self.norm = LayerNorm(config.image_d_model, config.norm_eps, dtype=dtype)
            self.dropout = Dropout(config.dropout)
            self.encoder = _stack(config, "image", dtype)
            self.projection = Projection(config.image_d_model, config.d_embed, dtype=dtype)
        initialize_weights(self, config.image_num_layers, rng)

    def forward(self, images: Array, *, run: Run | None = None) -> tuple[Array, ImageTowerSaved]:
        """Map images (batch, channels, height, width) to unit vectors (batch, d_embed)."""
        self._check(images)
        e, inputs_saved = self.inputs.forward(images)  # (1), (2)
        e, norm_saved = self.norm.forward(e)  # (3)
        e, dropout_saved = self.dropout.forward(e, run=run)
        h, stack_saved = self.encoder.forward(e, run=run)
        u, projection_saved = self.projection.forward(h, np.zeros(len(h), np.int64))  # (4)
        return u, ImageTowerSaved(
            inputs_saved, norm_saved, dropout_saved, stack_saved, projection_saved
        )

    def backward(self, dy: Array, saved: ImageTowerSaved, run: Run | None = None) -> Array:
        """Return dimages (batch, channels, height, width)."""
        dh = self.projection.backward(dy, saved.projection)  # (4')
        de = self.encoder.backward(dh, saved.stack)  # (3')
        de = self.dropout.backward(de, saved.dropout)
        de = self.norm.backward(de, saved.norm)
        return self.inputs.backward(de, saved.inputs)  # (2'), (1')

    def _check(self, images: Array) -> None:
        check_floats("CLIP", images=images)
        shape = (self.inputs.channels, self.inputs.size, self.inputs.size)
        if images.ndim != 4 or images.shape[1:] != shape or not len(images):
            raise ValueError(
                f"CLIP: images are {images.shape}; expected (batch, channels, height, width) with "
                f"{shape} of them, at least one image; resize and crop images first"
            )


class TextTowerSaved(NamedTuple):
    """What `TextTower.backward` needs."""

    inputs: InputEmbeddingSaved
    stack: EncoderSaved | None
    projection: ProjectionSaved


class TextTower(Layer):
    """Texts to unit vectors; equations (5) to (7) of the module.

    Attributes
    ----------
    inputs : layer of token and position embeddings
    encoder : Encoder
        Pre-norm, run under a causal mask.
    projection : Projection
    """

    def __init__(
        self,
        config: CLIPConfig,
        *,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.end_token = config.end_token
        with skeleton():
            embedding = Embedding(config.vocab_size, config.text_d_model, dtype=dtype)
            self.inputs = InputEmbedding(
                embedding, config.max_len, "learned", config.dropout, dtype=dtype
            )
            self.encoder = _stack(config, "text", dtype)
            self.projection = Projection(config.text_d_model, config.d_embed, dtype=dtype)
        initialize_weights(self, config.text_num_layers, rng)

    def forward(
        self, ids: Array, mask: BoolArray | None = None, *, run: Run | None = None
    ) -> tuple[Array, TextTowerSaved]:
        """Map ids (batch, length) to unit vectors (batch, d_embed); True in mask: a real token."""
        check_batch("CLIP", "ids", ids)
        check_mask("CLIP", "mask", mask, ids)
        x, inputs_saved = self.inputs.forward(ids, token_positions(mask), run=run)  # (5)
        sees, keys = masks.causal(), of_keys(mask)
        g, stack_saved = self.encoder.forward(
            x, mask=sees if keys is None else sees & keys, run=run
        )  # (6)
        v, projection_saved = self.projection.forward(g, self.ends(ids, mask))  # (7)
        return v, TextTowerSaved(inputs_saved, stack_saved, projection_saved)

    def backward(self, dy: Array, saved: TextTowerSaved, run: Run | None = None) -> None:
        """Add to every parameter's gradient; ids have none."""
        dg = self.projection.backward(dy, saved.projection)  # (7')
        dx = self.encoder.backward(dg, saved.stack)  # (6')
        self.inputs.backward(dx, saved.inputs)  # (5')

    def ends(self, ids: Array, mask: BoolArray | None = None) -> Array:
        """Return where each text of ids (batch, length) ends, of its real tokens: (batch,).

        A text without the token that ends one counts as its first real token, with a warning.
        """
        real = np.ones(ids.shape, bool) if mask is None else mask
        if self.end_token is None:
            largest: Array = np.argmax(np.where(real, ids.astype(np.int64), -1), axis=1)
            return largest
        found = real & (ids == self.end_token)
        without = np.flatnonzero(~found.any(axis=1))
        if len(without):
            warnings.warn(
                f"CLIP: {len(without)} of {len(ids)} texts, the first of them ids[{without[0]}], "
                f"have no token {self.end_token}, which ends a text (config.end_token): they are "
                f"known by their first token alone; end each with it",
                UserWarning,
                stacklevel=2,
            )
            found[without] = real[without]
        first: Array = np.argmax(found, axis=1)
        return first


class CLIPSaved(NamedTuple):
    """What `CLIP.backward` needs."""

    image: ImageTowerSaved
    text: TextTowerSaved
    cosines: LinearSaved
    logits: Array  # (N, M)
    factor: Array  # ()  exp(tau)


class CLIPLossSaved(NamedTuple):
    """What `CLIP.loss_backward` needs."""

    image: ImageTowerSaved
    text: TextTowerSaved
    contrast: ContrastiveLossSaved


class CLIP(Model):
    """Two towers, of images and of texts, whose vectors point alike where they belong together.

    Parameters
    ----------
    config : CLIPConfig
    rng : numpy.random.Generator, optional
        Draws the weights (`npformer.models._initialize`). None draws from fresh entropy.
    dtype : float32 or float64, optional

    Attributes
    ----------
    image : ImageTower
    text : TextTower
    log_scale : Parameter ()
        Logarithm of the factor of the cosines, log(1 / 0.07) at first. The paper never lets it
        grow beyond log(100): after a step, write
        ``np.minimum(p.value, math.log(100.0), out=p.value)``.

    References
    ----------
    Radford et al. (2021), "Learning Transferable Visual Models From Natural Language
    Supervision", arXiv:2103.00020. The image tower: Dosovitskiy et al. (2021), "An Image is Worth
    16x16 Words", arXiv:2010.11929.
    """

    config_type: ClassVar[type] = CLIPConfig

    def __init__(
        self,
        config: CLIPConfig,
        *,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        check_config_type(config, CLIPConfig)
        self.config = config
        rng = np.random.default_rng(rng)
        self.image = ImageTower(config, rng=rng, dtype=dtype)
        self.text = TextTower(config, rng=rng, dtype=dtype)
        self.log_scale = constant((), math.log(1.0 / 0.07), dtype)

    def encode_image(self, images: Array, *, run: Run | None = None) -> Array:
        """Return a unit vector (batch, d_embed) for each of images (batch, channels, h, w).

        Images are as the model was trained with: of `image_size`, and each channel less its mean
        and over its deviation.
        """
        return self.image.forward(images, run=run)[0]

    def encode_text(
        self, ids: Array, mask: BoolArray | None = None, *, run: Run | None = None
    ) -> Array:
        """Return a unit vector (batch, d_embed) for each text of ids (batch, length).

        `mask` is a bool array (batch, length), True = real token; padding may be on either side.
        Tokens that follow the end of a text change nothing, masked or not.
        """
        return self.text.forward(ids, mask, run=run)[0]

    def forward(
        self, images: Array, ids: Array, mask: BoolArray | None = None, *, run: Run | None = None
    ) -> tuple[Array, CLIPSaved]:
        """Compare every image with every text.

        Parameters
        ----------
        images : (N, channels, height, width) ndarray
        ids : (M, length) integer ndarray
            M may be another number than N.
        mask : (M, length) bool ndarray, optional
            True = real token.
        run : Run, optional

        Returns
        -------
        logits : (N, M) ndarray
            Their softmax over axis 1 is how well each text suits an image, and over axis 0 how
            well each image suits a text.
        saved : CLIPSaved

        Raises
        ------
        ValueError, TypeError
            If images are not floats of the configuration's size, ids are not (batch, length)
            integers below vocab_size, a text is longer than max_len, or the mask is not a bool
            array of the ids' shape.
        """
        u, image_saved = self.image.forward(images, run=run)  # (1) to (4)
        v, text_saved = self.text.forward(ids, mask, run=run)  # (5) to (7)
        cosines, cosines_saved = F.linear(u, v)  # (8)
        factor = np.asarray(np.exp(self.log_scale.value))
        logits = cosines * factor  # (9)
        return logits, CLIPSaved(image_saved, text_saved, cosines_saved, logits, factor)

    def backward(self, dy: Array, saved: CLIPSaved, run: Run | None = None) -> Array:
        """Return dimages, given dy (N, M); add to every parameter's gradient."""
        check_gradient("CLIP.backward", dy, saved.logits.shape, saved.logits)
        self.log_scale.add_grad(np.asarray(np.sum(dy * saved.logits)))  # (9')
        du, dv, _ = F.linear_backward(dy * saved.factor, saved.cosines)  # (8')
        self.text.backward(dv, saved.text)  # (7') to (5')
        return self.image.backward(du, saved.image)  # (4') to (1')

    def loss(
        self, images: Array, ids: Array, mask: BoolArray | None = None, *, run: Run | None = None
    ) -> tuple[Any, CLIPLossSaved]:
        """Mean of two cross-entropies: each image to find its text, and each text its image.

        Parameters
        ----------
        images : (N, channels, height, width) ndarray
        ids : (N, length) integer ndarray
            Text i belongs to image i, and to no other.
        mask : (N, length) bool ndarray, optional
            True = real token.
        run : Run, optional

        Returns
        -------
        loss : scalar of the model's dtype
            In nats; log N if all are alike.
        saved : CLIPLossSaved

        Raises
        ------
        ValueError, TypeError
            As for `forward`, and if there are not as many texts as images.
        """
        if np.ndim(images) == 4 and np.ndim(ids) == 2 and len(images) != len(ids):
            raise ValueError(
                f"CLIP: there are {len(images)} images and {len(ids)} texts; expected a text for "
                f"each image"
            )
        u, image_saved = self.image.forward(images, run=run)
        v, text_saved = self.text.forward(ids, mask, run=run)
        loss, contrast_saved = F.contrastive_loss(u, v, self.log_scale.value)  # (8) to (10)
        return loss, CLIPLossSaved(image_saved, text_saved, contrast_saved)

    def loss_backward(self, saved: CLIPLossSaved, dloss: float = 1.0) -> None:
        """Add `dloss` times the loss's gradient to every parameter's."""
        du, dv, dscale = F.contrastive_loss_backward(dloss, saved.contrast)  # (10') to (8')
        self.log_scale.add_grad(dscale)
        self.text.backward(dv, saved.text)
        self.image.backward(du, saved.image)

    def loss_weight(self, images: Array, ids: Array, mask: BoolArray | None = None) -> None:
        """Return None: each pair is a wrong answer to all others, so that no shard stands alone."""
        return
