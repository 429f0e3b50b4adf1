"""A suggested clip makes training converge that diverges without it."""

import keras
import numpy as np
import pytest

from keras_seq.diagnostics import inspect_gradients, suggest_clipping
from tests.diagnostics.copy_task import build, make_rows, train


def _explosive(global_clipnorm=None):
    """A network whose recurrent weights are 1.6 times what keeps a state's size."""
    optimizer = keras.optimizers.SGD(0.03, global_clipnorm=global_clipnorm)
    with pytest.warns(UserWarning, match="costs the fast paths"):
        model = build(20, cell="rnn", activation="relu", optimizer=optimizer)
    cell = model.get_layer("encoder").forward[0].cell
    cell.recurrent_kernel.assign(cell.recurrent_kernel * 1.6)
    return model


@pytest.mark.slow
def test_an_exploding_configuration_converges_once_clipped():
    data = make_rows(20, 2048, seed=1, noise=1.0)
    model = _explosive()
    kinds = [f.kind for f in inspect_gradients(model, data).findings]
    assert "exploding" in kinds
    suggestion = suggest_clipping(model, data)
    assert train(model, 20, 500, noise=1.0) < 0.7  # a coin gives 0.5
    clipped = _explosive(suggestion.global_clipnorm)
    assert train(clipped, 20, 800, noise=1.0) > 0.95


def test_the_rehearsal_leaves_no_trace_and_repeats():
    model, data = build(5), make_rows(5, 64, seed=0)
    model.train_on_batch(*data)
    watched = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
    before = [np.array(v) for v in watched]
    first = suggest_clipping(model, data, num_steps=5)
    for variable, value in zip(watched, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    second = suggest_clipping(model, data, num_steps=5)
    np.testing.assert_allclose(first.norms, second.norms, rtol=1e-5)
    assert len(first.norms) == 5
    assert first.global_clipnorm == pytest.approx(np.median(first.norms), rel=0.05)
    assert f"median {np.median(first.norms):.3g}" in str(first)


@pytest.mark.numeric
def test_the_first_norm_is_that_of_the_gradient():
    model, data = build(5), make_rows(5, 64, seed=0)
    # Every row is the same, so that every batch is.
    inputs = {name: np.repeat(x[:1], 8, axis=0) for name, x in data[0].items()}
    rows = inputs, np.repeat(data[1][:1], 8)
    suggestion = suggest_clipping(model, rows, num_steps=1, batch_size=4)
    weights = inspect_gradients(model, rows).weights
    expected = np.linalg.norm(weights["gradient_norm"])
    np.testing.assert_allclose(suggestion.norms, expected, rtol=1e-4)


def test_a_gradient_that_is_lost_at_once_is_an_error():
    model, data = build(5), make_rows(5, 64, seed=0)
    data[0]["steps"][:] = np.nan
    with pytest.raises(ValueError, match="No gradient is finite.*norm nan"):
        suggest_clipping(model, data)
    with pytest.raises(ValueError, match="`num_steps`.*num_steps=0"):
        suggest_clipping(model, data, num_steps=0)
