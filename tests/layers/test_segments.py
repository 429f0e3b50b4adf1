"""Segments: cut from the end, filled up with what is missing, decoded in parallel."""

import numpy as np
import pytest

from keras_seq.layers.segments import (
    SegmentDecoder,
    choose_segment,
    count_segments,
    cut_segments,
)

pytestmark = pytest.mark.numeric


@pytest.mark.parametrize("length", [1, 3, 4, 8, 11])
def test_segments_are_cut_from_the_end(length):
    steps = np.random.default_rng(0).normal(size=(2, 8, 2)).astype("float32")
    found = np.asarray(cut_segments(steps, length))
    for row in range(2):
        rest = [list(step) for step in steps[row]]
        segments = []
        while rest:
            own, rest = rest[-length:], rest[:-length]
            own = [[0.0, 0.0]] * (length - len(own)) + own
            segments.insert(0, np.ravel(own))
        np.testing.assert_array_equal(found[row], segments)


@pytest.mark.parametrize("segment_length", [2, 3, 9])
def test_the_decoder_is_one_dense_network_for_each_segment(segment_length):
    random = np.random.default_rng(0)
    context = random.normal(size=(2, 5)).astype("float32")
    known = random.normal(size=(2, 7, 3)).astype("float32")
    decoder = SegmentDecoder(7, segment_length, units=4, features=6)
    found = np.asarray(decoder(context, known))
    assert found.shape == (2, 7, 6)
    weights = {w.path.split("/", 1)[1]: np.asarray(w) for w in decoder.weights}
    width = min(segment_length, 7)
    for row in range(2):
        expected = []
        for index in range(-(-7 // width)):
            ahead = np.zeros((width, 3))
            own = known[row, index * width : (index + 1) * width]
            ahead[: len(own)] = own
            hidden = context[row] @ weights["state/kernel"] + weights["state/bias"]
            hidden = hidden + weights["positions"][index]
            hidden = hidden + ahead.reshape(-1) @ weights["known/kernel"]
            steps = np.maximum(hidden, 0) @ weights["steps/kernel"]
            expected.append((steps + weights["steps/bias"]).reshape(width, 6))
        expected = np.concatenate(expected)[:7]
        np.testing.assert_allclose(found[row], expected, atol=1e-5)


@pytest.mark.parametrize("lookback", [1, 5, 95, 96, 104, 336, 720, 2880])
@pytest.mark.parametrize("season_length", [1, 4, 7, 12, 24, 52, 1440])
def test_the_usual_length_gives_some_segments(lookback, season_length):
    """None reads more than a segment short: 4 to 16 where the lookback has as many."""
    if season_length > lookback:
        return
    fixed = {"lookback": lookback, "season_length": season_length}
    length = choose_segment("segment", "auto", **fixed)
    assert min(lookback, 4) <= count_segments(lookback, length) <= 16
    auto = choose_segment("auto", "auto", **fixed)
    assert auto == (length if lookback >= 96 else None)


def test_lengths_given_are_kept():
    fixed = {"lookback": 96, "season_length": 24}
    assert choose_segment("auto", "auto", **fixed) == 24
    assert choose_segment("auto", "auto", lookback=720, season_length=24) == 48
    assert choose_segment("direct", "auto", **fixed) is None
    assert choose_segment("auto", "auto", stateful=True, **fixed) is None
    assert choose_segment("auto", 5, lookback=12, season_length=1) == 5
    assert choose_segment("segment", 12, **fixed) == 12
