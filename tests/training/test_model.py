"""What the networks of both tasks share."""

import keras
import numpy as np
import pytest

from tests.training.test_precision import TASKS


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="others compile what was traced"
)
@pytest.mark.parametrize("task", TASKS)
def test_a_training_step_is_traced_once(task, monkeypatch):
    build, arguments, batch = TASKS[task]
    model = build(**arguments)
    traced = []
    compute_loss = type(model).compute_loss

    def count(self, *args, **kwargs):
        traced.append(True)
        return compute_loss(self, *args, **kwargs)

    monkeypatch.setattr(type(model), "compute_loss", count)
    before = [np.array(weights) for weights in model.get_weights()]
    model.fit(*batch(), epochs=2, verbose=0)
    assert len(traced) == 1
    assert not all(map(np.array_equal, before, model.get_weights()))
