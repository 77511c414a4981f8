"""Operations against PyTorch's, values and gradients, in float64."""

import numpy as np
import pytest
import torch
from support.strategies import normal

import npformer.functional as F
from npformer.layers import LSTM, RNN

EXACT = {"rtol": 1e-10, "atol": 1e-12}


def leaf(x):
    return torch.from_numpy(np.array(x)).requires_grad_()


def assert_alike(gradients, leaves):
    for got, of in zip(gradients, leaves, strict=True):
        np.testing.assert_allclose(got, of.grad.numpy(), **EXACT)


@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (1, 1), (2, 1), (3, (2, 1))])
def test_conv1d(stride, padding):
    x, weight, bias = normal(0, 2, 9, 3), normal(1, 4, 3, 3), normal(2, 4)
    y, saved = F.conv1d(x, weight, bias, stride, padding)
    leaves = [leaf(a) for a in (x, weight, bias)]
    sides = padding if isinstance(padding, tuple) else (padding, padding)
    padded = torch.nn.functional.pad(leaves[0].transpose(1, 2), sides)
    z = torch.nn.functional.conv1d(padded, *leaves[1:], stride).transpose(1, 2)
    np.testing.assert_allclose(y, z.detach().numpy(), **EXACT)
    dy = normal(3, *y.shape)
    z.backward(torch.from_numpy(dy))
    assert_alike(F.conv1d_backward(dy, saved), leaves)


def test_l2_normalize():
    x, dy = normal(0, 2, 3, 5), normal(1, 2, 3, 5)
    y, saved = F.l2_normalize(x)
    leaves = [leaf(x)]
    z = torch.nn.functional.normalize(leaves[0], dim=-1)
    np.testing.assert_allclose(y, z.detach().numpy(), **EXACT)
    z.backward(torch.from_numpy(dy))
    assert_alike([F.l2_normalize_backward(dy, saved)], leaves)


def test_contrastive_loss():
    image, text = (F.l2_normalize(normal(i, 6, 4))[0] for i in range(2))
    log_scale = np.array(2.6)
    loss, saved = F.contrastive_loss(image, text, log_scale)
    leaves = [leaf(a) for a in (image, text, log_scale)]
    logits = leaves[2].exp() * leaves[0] @ leaves[1].T
    right = torch.arange(6)
    cross_entropy = torch.nn.functional.cross_entropy
    theirs = (cross_entropy(logits, right) + cross_entropy(logits.T, right)) / 2
    np.testing.assert_allclose(loss, theirs.item(), **EXACT)
    (0.7 * theirs).backward()
    assert_alike(F.contrastive_loss_backward(0.7, saved), leaves)


@pytest.mark.parametrize("blank", [0, 3])
def test_ctc_loss_through_log_softmax(blank):
    """PyTorch's gradient of log-probabilities is not the partial one, so logits are compared."""
    logits, rng = 2 * normal(0, 4, 12, 6), np.random.default_rng(1)
    targets = rng.permuted(np.delete(np.arange(6), blank)[None].repeat(4, 0), axis=1)[:, :4]
    targets[1, 1] = targets[1, 0]
    steps, lengths = np.array([12, 9, 4, 7]), np.array([4, 3, 4, 0])
    x, log_softmax = F.log_softmax(logits)
    loss, saved = F.ctc_loss(x, targets, steps, lengths, blank)
    leaves = [leaf(logits)]
    theirs = torch.nn.functional.ctc_loss(
        leaves[0].log_softmax(-1).transpose(0, 1),
        *(torch.from_numpy(a) for a in (targets, steps, lengths)),
        blank,
    )
    np.testing.assert_allclose(loss, theirs.item(), **EXACT)
    (0.7 * theirs).backward()
    dx = F.ctc_loss_backward(0.7, saved)
    assert_alike([F.log_softmax_backward(dx, log_softmax)], leaves)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("ours", "theirs"), [(RNN, torch.nn.RNN), (LSTM, torch.nn.LSTM)])
def test_recurrent_layers(ours, theirs, bias):
    """With PyTorch's own weights and biases, under its own names."""
    peer = theirs(3, 4, bias=bias, batch_first=True, dtype=torch.float64)
    layer = ours(3, 4, bias=bias, dtype=np.float64)
    names = [name for name, _ in layer.named_parameters()]
    layer.load_state_dict({name: getattr(peer, f"{name}_l0").detach().numpy() for name in names})
    count = 2 if ours is LSTM else 1
    inputs = [normal(0, 2, 5, 3), *(normal(1 + i, 2, 4) for i in range(count))]
    y, saved = layer.forward(*inputs)
    x, *states = leaves = [leaf(a) for a in inputs]
    before = tuple(state[None] for state in states)
    z, after = peer(x, before if ours is LSTM else before[0])
    np.testing.assert_allclose(y, z.detach().numpy(), **EXACT)
    last = [saved[0].h_n, saved[0].c_n] if ours is LSTM else [saved[0].h_n]
    for got, want in zip(last, after if ours is LSTM else [after], strict=True):
        np.testing.assert_allclose(got, want[0].detach().numpy(), **EXACT)
    dy = normal(5, *y.shape)
    z.backward(torch.from_numpy(dy))
    assert_alike(layer.backward(dy, saved), leaves)
    for name in names:
        want = getattr(peer, f"{name}_l0").grad.numpy()
        np.testing.assert_allclose(getattr(layer, name).grad, want, **EXACT)
