"""The memory horizon is the lag that a network solves, and the advice is good."""

import pytest

from keras_seq.diagnostics import inspect_gradients
from tests.diagnostics.copy_task import accuracy, build, make_rows, train
from tests.grids import often

# Noise drives a SimpleRNN's state away from 0, where tanh forgets. Of size 0.5 it still
# learns lag 200; of size 0.7 an LSTM needs the second advice as well, a lower learning
# rate, since the noise piles up in its cell.
NOISE = 0.6


def _horizon(model, lag):
    report = inspect_gradients(model, make_rows(lag, 64, seed=3, noise=NOISE))
    return int(report.memory["horizon"].iloc[0]), report


def _follow(lag, cell):
    """Trains; if it fails, trains again as the findings advise."""
    model = build(lag, cell=cell)
    steps = 400 if lag <= 50 else 1000
    score = train(model, lag, steps, noise=NOISE)
    horizon, report = _horizon(model, lag)
    advised = None
    if score < 0.99:
        change = next(f.change for f in report.findings if f.kind == "vanishing")
        advised = build(lag, **{"cell": cell, **change})
        train(advised, lag, 2 * steps, noise=NOISE)
    return score, horizon, report, advised


def _check(lag, cell, solved):
    score, horizon, report, advised = _follow(lag, cell)
    assert (score > 0.99) == solved
    if solved:
        assert abs(horizon - lag) <= 0.2 * lag
        return
    assert horizon < 0.8 * lag
    assert "change the outputs by less than 1 %" in str(report)
    assert accuracy(advised, lag, noise=NOISE) > 0.99
    reached, _ = _horizon(advised, lag)
    assert abs(reached - lag) <= 0.2 * lag


@pytest.mark.parametrize("cell", often(["rnn", "lstm", "gru"], "lstm"))
def test_ten_steps_are_solved_and_measured(cell):
    _check(10, cell, solved=True)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("lag", "cell", "solved"),
    [
        (50, "rnn", True),
        (50, "lstm", False),  # until its forget gates open
        (200, "rnn", False),
        (200, "lstm", False),
    ],
)
def test_long_lags_are_told_apart_and_the_advice_mends_them(lag, cell, solved):
    _check(lag, cell, solved)
