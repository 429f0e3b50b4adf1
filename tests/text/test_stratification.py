"""Parts with their share of each label, also where labels are rare."""

import numpy as np
import pytest

from keras_seq.text.stratification import deal_out, only_in_one, split_labels

pytestmark = pytest.mark.numeric


def make_targets(count=2000, seed=0):
    random = np.random.default_rng(seed)
    frequency = np.array([0.4, 0.2, 0.05, 0.02, 0.005])
    return (random.random((count, 5)) < frequency).astype(np.float32)


def test_shares_of_labels_and_of_rows():
    targets = make_targets()
    counts = targets.sum(axis=0)
    held = split_labels(targets, 0.1, np.random.default_rng(0))
    for j in range(5):
        assert abs(targets[held, j].sum() - max(0.1 * counts[j], 1)) <= 2
    assert abs(held.sum() - 200) <= 3


@pytest.mark.parametrize("seed", range(10))
def test_each_label_is_on_both_sides(seed):
    random = np.random.default_rng(seed)
    targets = make_targets(60, seed)
    rare = np.zeros((60, 3))
    rare[random.permutation(60)[:2], 0] = 1
    rare[random.permutation(60)[:3], 1] = 1
    rare[7, 2] = 1  # once only
    targets = np.concatenate([targets, rare], axis=1)
    held = split_labels(targets, 0.1, random)
    counts = targets.sum(axis=0)
    assert (targets[~held].sum(axis=0)[counts > 0] > 0).all()
    assert (targets[held].sum(axis=0)[counts > 1] > 0).all()
    assert not targets[held][:, 7].any()


def test_what_cannot_be_on_both_sides_is_trained_on():
    targets = np.array([[1, 1, 0], [1, 0, 1], [0, 1, 1]])  # three pairs, two sides
    for seed in range(10):
        held = split_labels(targets, 0.3, np.random.default_rng(seed))
        assert held.any() and targets[~held].any(axis=0).all()


def test_parts_are_even_and_a_function_of_the_seed():
    targets = make_targets(300)
    desired = np.append(targets.sum(axis=0), 300) / 3 * np.ones((3, 1))
    parts, again = (
        deal_out(targets, desired, np.random.default_rng(1)) for _ in range(2)
    )
    np.testing.assert_array_equal(parts, again)
    for part in range(3):
        rows = parts == part
        assert abs(rows.sum() - 100) <= 2
        assert (abs(targets[rows].sum(axis=0) - targets.sum(axis=0) / 3) <= 2).all()


def test_labels_of_a_single_part_are_told():
    targets = np.array([[1, 0, 1], [1, 1, 0], [0, 1, 0]])
    np.testing.assert_array_equal(only_in_one(targets, [0, 1, 1]), [1, 2])
