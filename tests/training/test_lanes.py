"""Lanes read every step once, in order, with a reset just where a sequence begins."""

import numpy as np
import pytest

from keras_seq.training.lanes import Lanes


def read(lanes, turn):
    """What each lane reads in a pass: lists of (sequence, step), broken at resets."""
    pieces, open_ones = [], {}
    for index in range(lanes.num_chunks):
        chunk = lanes[turn * lanes.num_chunks + index]
        assert chunk.length.max() <= lanes.chunk_length
        for lane in range(lanes.count):
            if chunk.reset[lane]:
                pieces.append([])
                open_ones[lane] = pieces[-1]
            steps = chunk.first[lane] + np.arange(chunk.length[lane])
            open_ones[lane] += [(int(chunk.sequence[lane]), int(s)) for s in steps]
    return [piece for piece in pieces if piece]


CASES = {
    "ragged": ([7, 1, 30, 12, 0, 5, 25, 10], 3, 10),
    "one long": ([1003], 4, 10),
    "more lanes than sequences": ([12, 3], 8, 5),
    "whole chunks": ([20, 40, 10], 2, 10),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("turn", [0, 3])
def test_a_pass_reads_each_step_once_and_in_order(case, turn):
    lengths, count, size = CASES[case]
    lanes = Lanes(np.array(lengths), count, size, seed=1)
    pieces = read(lanes, turn)
    seen = sorted(step for piece in pieces for step in piece)
    expected = [(i, s) for i, length in enumerate(lengths) for s in range(length)]
    assert seen == expected
    for piece in pieces:  # one sequence, step after step
        assert {sequence for sequence, _ in piece} == {piece[0][0]}
        steps = [step for _, step in piece]
        assert steps == list(range(steps[0], steps[0] + len(steps)))
    if case != "one long":  # uncut: every piece begins at the beginning
        assert all(piece[0][1] == 0 for piece in pieces)


def test_long_sequences_are_cut_so_that_all_lanes_have_work():
    lanes = Lanes(np.array([1003]), 4, 10)
    assert sorted(len(piece) for piece in read(lanes, 0)) == [250, 251, 251, 251]


def test_lanes_are_of_about_equal_length():
    lengths = np.random.default_rng(0).integers(1, 500, 300)
    lanes = Lanes(lengths, 16, 20)
    fair = (1 + -(-lengths // 20)).sum() / 16
    assert lanes.num_chunks <= 1.1 * fair


def test_chunks_begin_elsewhere_in_another_pass_and_repeat_with_the_seed():
    lengths = np.array([95, 80, 130])
    lanes, again = (Lanes(lengths, 2, 10, seed=5) for _ in range(2))
    firsts = []
    for turn in (0, 1):
        numbers = range(turn * lanes.num_chunks, (turn + 1) * lanes.num_chunks)
        firsts.append(np.stack([lanes[i].first for i in numbers]))
        same = np.stack([again[i].first for i in numbers])
        np.testing.assert_array_equal(firsts[-1], same)
    assert (firsts[0] != firsts[1]).any()
