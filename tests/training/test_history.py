"""Histories go into JSON and come back as they were."""

import json

import numpy as np
import pandas as pd

from keras_seq.training.history import pack_history, unpack_history


def test_a_history_comes_back_with_what_json_lacks():
    history = pd.DataFrame(
        {
            "epoch": [1, 2, 3],
            "loss": [0.5, np.inf, 0.25],
            "val_loss": [0.7, np.nan, 1.0],
        }
    )
    text = json.dumps(pack_history(history), allow_nan=False)
    pd.testing.assert_frame_equal(unpack_history(json.loads(text)), history)


def test_an_empty_history_stays_one():
    assert unpack_history(pack_history(pd.DataFrame({"loss": []}))).empty
