"""Pooling over valid steps only, against NumPy row by row."""

import numpy as np
import pytest

from keras_seq.layers.pooling import SequencePooling

pytestmark = pytest.mark.numeric

LENGTHS = np.array([0, 1, 3, 5], "int32")


def pool_row(row, pooling, half):
    if not len(row):
        return np.zeros(row.shape[-1])
    if pooling == "last":
        return row[-1] if half is None else np.r_[row[-1, :half], row[0, half:]]
    return getattr(row, pooling)(axis=0)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("pooling", ["last", "mean", "max", "concat"])
@pytest.mark.parametrize("junk", [np.nan, 1e9, -1e9])
def test_equals_numpy_whatever_the_padding(pooling, bidirectional, junk):
    inputs = np.random.default_rng(0).normal(size=(4, 5, 6)).astype("float32") - 2
    inputs[np.arange(5) >= LENGTHS[:, None]] = junk
    layer = SequencePooling(pooling, bidirectional=bidirectional)
    half = 3 if bidirectional else None
    modes = ("mean", "max", "last") if pooling == "concat" else (pooling,)
    expected = [
        np.concatenate([pool_row(row[:length], mode, half) for mode in modes])
        for row, length in zip(inputs, LENGTHS, strict=True)
    ]
    np.testing.assert_allclose(layer(inputs, LENGTHS), expected, rtol=1e-5, atol=1e-6)


def test_unknown_pooling_is_suggested():
    with pytest.raises(ValueError, match="Did you mean 'mean'"):
        SequencePooling("maen")
