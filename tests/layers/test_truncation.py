"""Truncate against slices of each row by itself."""

import numpy as np
import pytest

from keras_seq.layers.truncation import Truncate

pytestmark = pytest.mark.numeric


@pytest.mark.parametrize("head", [0, 2, 3, 4])
@pytest.mark.parametrize("time", [9, 4, 3])
def test_it_keeps_the_first_and_the_last_steps(head: int, time: int) -> None:
    lengths = np.minimum([9, 6, 5, 4, 3, 0], time).astype("int32")
    tokens = np.random.default_rng(0).integers(2, 99, (6, time)).astype("int32")
    kept, kept_lengths = Truncate(4, head)(tokens, lengths)
    assert kept.shape == (6, min(time, 4))
    for row, length, found, kept_length in zip(
        tokens, lengths, np.asarray(kept), np.asarray(kept_lengths), strict=True
    ):
        valid = row[:length]
        if length > 4:
            valid = np.concatenate([valid[:head], valid[length - (4 - head) :]])
        np.testing.assert_array_equal(found[:kept_length], valid)
