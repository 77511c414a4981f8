r"""Contrastive loss of pairs: each image is to find its text among all texts, and the reverse.

Forward, for N pairs of unit vectors u_i (images) and v_j (texts) of length D
    (1)  a    = exp(t)                      t is learned; 1 / a is the temperature   ()
    (2)  c_ij = sum_d u_id v_jd             cosines                                  (N, N)
    (3)  s_ij = a c_ij                      logits                                   (N, N)
    (4)  l_ij = s_ij - log sum_k exp(s_ik)  log-probability of text j for image i    (N, N)
    (5)  m_ij = s_ij - log sum_k exp(s_kj)  log-probability of image i for text j    (N, N)
    (6)  L    = -1/(2N) sum_i (l_ii + m_ii)                                          ()
L is the mean of two cross-entropies, over the rows and over the columns of one matrix. For the
logarithms see `log_softmax`: the largest logit of a row or column is subtracted, and cancels.

Backward, given dL
    (6') dl_ij = dm_ij = -dL/(2N) [i = j]
    (5') m_ij depends on s_ij directly and on every s_kj by the logarithm, whose derivative is
         d/ds_kj log sum_k exp(s_kj) = exp(s_kj) / sum_k exp(s_kj) = exp(m_kj):
         ds_ij = dm_ij - exp(m_ij) sum_k dm_kj = dL/(2N) (exp(m_ij) - [i = j])
    (4') likewise along the row, and added:
         ds_ij = dL/(2N) g_ij  with  g_ij = exp(l_ij) + exp(m_ij) - 2 [i = j]
    (3') dc_ij = a ds_ij,   da = sum_ij ds_ij c_ij
    (2') u_i meets every v_j:  du_id = sum_j dc_ij v_jd;   dv_jd = sum_i dc_ij u_id
    (1') da/dt = a, and by (3') a ds_ij = dc_ij:
         dt = a da = sum_ij dc_ij c_ij = sum_ij dc_ij sum_d u_id v_jd = sum_id u_id du_id, by (2')

Nothing here knows that u_i and v_j have length 1; du and dv are the gradients of any vectors.

Saved: g, N^2 numbers, and u, v and a. Neither the cosines nor the logits are needed.
"""

from typing import NamedTuple

import numpy as np

from ..core.arrays import Array, check_floats, scalar_gradient
from .softmax import shifted_exp


class ContrastiveLossSaved(NamedTuple):
    """What `contrastive_loss_backward` needs."""

    g: Array  # (N, N)  gradient of the logits, but for dL / 2N
    image: Array  # (N, D)  the caller's own array
    text: Array  # (N, D)  the caller's own array
    a: Array  # ()      exp(log_scale)


def contrastive_loss(
    image: Array, text: Array, log_scale: Array
) -> tuple[np.floating, ContrastiveLossSaved]:
    """Symmetric cross-entropy of the similarities of N images and their N texts.

    Parameters
    ----------
    image, text : (N, D) ndarray
        Unit vectors, as `l2_normalize` makes them; pair i is row i of both. They are not
        normalised again.
    log_scale : () ndarray
        Logarithm of the factor of the cosines. CLIP starts from log(1 / 0.07), and keeps it at
        log(100) or below.

    Returns
    -------
    loss : scalar of the dtype of `image`, in nats
        log N if all are alike. It is not a mean over independent parts: each pair is a wrong
        answer to the others.
    saved : ContrastiveLossSaved
        For `contrastive_loss_backward`.

    Raises
    ------
    ValueError
        If the shapes do not fit or there are no pairs.
    DivergedError
        If logits are infinite.
    TypeError
        If the dtypes are not float32, float64 or complex128, or do not mix.

    References
    ----------
    Radford et al. (2021), "Learning Transferable Visual Models From Natural Language
    Supervision", arXiv:2103.00020, figure 3 and section 2.5 (the bound of the factor). The loss
    is the symmetric form of van den Oord et al. (2018), arXiv:1807.03748, equation 4.
    """
    check_floats("contrastive_loss", image=image, text=text, log_scale=log_scale)
    if image.ndim != 2 or image.shape != text.shape or image.size == 0:
        raise ValueError(
            f"contrastive_loss: image {image.shape} and text {text.shape} do not fit; expected "
            f"(N, D) for both, N and D at least 1"
        )
    if log_scale.shape != ():
        raise ValueError(f"contrastive_loss: log_scale is {log_scale.shape}; expected a scalar, ()")
    N = len(image)
    a = np.exp(log_scale)  # (1)
    s = image @ text.T * a  # (2), (3)
    total, g = a.dtype.type(0), np.zeros_like(s)
    for axis in (1, 0):
        e, m = shifted_exp("contrastive_loss", s, axis)
        z = np.sum(e, axis=axis)
        total += np.sum(np.diagonal(s - m) - np.log(z))  # (4), (5): l_ii and m_ii
        g += e / np.expand_dims(z, axis)
    g[np.arange(N), np.arange(N)] -= 2.0  # (4'), (5')
    loss = s.dtype.type(-total / (2 * N))  # (6)
    return loss, ContrastiveLossSaved(g, image, text, np.asarray(a))


def contrastive_loss_backward(dy: float, saved: ContrastiveLossSaved) -> tuple[Array, Array, Array]:
    """Gradients of `image`, `text` and `log_scale`; equations (6') to (1') of the module.

    Parameters
    ----------
    dy : float
        Gradient of whatever is minimised with respect to the loss; 1.0 if that is the loss.
    saved : ContrastiveLossSaved
        As returned by `contrastive_loss`.

    Returns
    -------
    dimage, dtext : (N, D) ndarray
    dlog_scale : () ndarray

    Raises
    ------
    ValueError
        If `dy` is not a number, or a complex one of a real loss.
    """
    g, image, text, a = saved
    dy = scalar_gradient("contrastive_loss_backward", dy, g)
    dc = g * (a * (dy / (2 * len(g))))  # (6'), (3')
    dimage = dc @ text  # (2')
    dtext = dc.T @ image  # (2')
    dlog_scale = np.asarray(np.sum(image * dimage))  # (1')
    return dimage, dtext, dlog_scale
