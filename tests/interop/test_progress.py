"""Progress with tqdm: a bar on a terminal."""

from support.recipes import Terminal, make_progress


def test_a_terminal_gets_a_bar_with_loss():
    shown = make_progress(Terminal())
    assert "100%" in shown
    assert "4/4" in shown
    assert "loss 1.000" in shown
    assert "half way\n" in shown
