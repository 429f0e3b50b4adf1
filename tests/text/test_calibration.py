"""Temperatures and calibration errors against plain loops."""

import math

import numpy as np
import pytest

from keras_seq.text.calibration import (
    apply_temperature,
    expected_calibration_error,
    fit_temperature,
)

pytestmark = pytest.mark.numeric


def make_logits(count, num_classes, seed=0):
    return np.random.default_rng(seed).normal(scale=2.0, size=(count, num_classes))


def softmax(logits):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


def draw(probabilities, seed=1):
    random = np.random.default_rng(seed)
    return np.array([random.choice(len(p), p=p) for p in probabilities])


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("multi_label", [False, True])
def test_temperature_divides_the_logits(temperature, multi_label):
    logits = make_logits(50, 4)
    link = sigmoid if multi_label else softmax
    found = apply_temperature(link(logits).astype(np.float32), temperature, multi_label)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, link(logits / temperature), atol=1e-6)


def test_a_temperature_of_one_changes_no_bit():
    probabilities = softmax(make_logits(20, 3)).astype(np.float32)
    np.testing.assert_array_equal(apply_temperature(probabilities, 1.0), probabilities)


@pytest.mark.parametrize("temperature", [0.05, 0.7, 3.0, 20.0])
def test_the_likeliest_class_stays(temperature):
    random = np.random.default_rng(0)
    near = random.random((2000, 2)).astype(np.float32) * 1e-7 + np.float32(0.5)
    certain = np.array([[1.0, 0.0, 0.0], [0.0, 1e-45, 1.0]], np.float32)
    for probabilities in (near, certain, softmax(make_logits(500, 5))):
        probabilities = probabilities.astype(np.float32)
        found = apply_temperature(probabilities, temperature)
        assert np.isfinite(found).all()
        np.testing.assert_array_equal(found.argmax(1), probabilities.argmax(1))
        np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)


def test_certain_labels_stay_finite():
    probabilities = np.array([[0.0, 1.0, 0.5]], np.float32)
    found = apply_temperature(probabilities, 4.0, multi_label=True)
    assert 0 < found[0, 0] < 1e-9 and 0.98 < found[0, 1] < 1
    assert found[0, 2] == 0.5


@pytest.mark.parametrize("multi_label", [False, True])
def test_finds_the_temperature_that_was_taken_away(multi_label):
    logits = make_logits(20_000, 3)
    if multi_label:
        true = sigmoid(logits)
        targets = (np.random.default_rng(1).random(true.shape) < true).astype(int)
        sure = sigmoid(2.5 * logits)
    else:
        targets, sure = draw(softmax(logits)), softmax(2.5 * logits)
    weights = np.ones(len(logits))
    found = fit_temperature(sure.astype(np.float32), targets, weights, multi_label)
    assert found == pytest.approx(2.5, rel=0.05)


@pytest.mark.parametrize("multi_label", [False, True])
def test_is_the_least_of_a_plain_search(multi_label):
    """The loss and the prior summed text by text."""
    logits = make_logits(40, 3, seed=2)
    probabilities = (sigmoid if multi_label else softmax)(logits).astype(np.float32)
    random = np.random.default_rng(3)
    targets = (
        random.integers(0, 2, (40, 3)) if multi_label else random.integers(3, size=40)
    )
    weights = random.integers(0, 3, 40).astype(np.float32)
    present = weights[weights > 0]

    def objective(temperature):
        total = math.log(temperature) ** 2 / (2 * 0.25**2)
        for row in range(40):
            share = weights[row] / present.mean()
            p = [float(value) for value in probabilities[row]]
            if multi_label:
                for j in range(3):
                    yes = p[j] ** (1 / temperature)
                    no = (1 - p[j]) ** (1 / temperature)
                    own = yes if targets[row, j] else no
                    total -= share * math.log(own / (yes + no))
            else:
                powers = [value ** (1 / temperature) for value in p]
                total -= share * math.log(powers[targets[row]] / sum(powers))
        return total

    grid = np.exp(np.linspace(math.log(0.05), math.log(20), 3001))
    expected = grid[np.argmin([objective(t) for t in grid])]
    found = fit_temperature(probabilities, targets, weights, multi_label)
    assert found == pytest.approx(expected, rel=0.003)  # the grid's own step
    assert found > 1  # labels are noise


def test_no_temperature_where_none_helps():
    nothing = np.zeros(5)
    uniform = np.full((5, 2), 0.5, np.float32)
    targets = np.array([0, 1, 0, 1, 0])
    assert fit_temperature(uniform, targets, nothing) == 1.0
    assert fit_temperature(uniform, targets, nothing + 1) == 1.0


def test_a_few_right_answers_do_not_ask_for_certainty():
    probabilities = np.array([[0.9, 0.1]] * 4, np.float32)
    targets = np.zeros(4, int)
    assert fit_temperature(probabilities, targets, np.ones(4)) == 1.0
    many = fit_temperature(
        np.repeat(probabilities, 500, 0), np.zeros(2000, int), np.ones(2000)
    )
    assert many < 0.4


def test_weights_count_as_copies_do():
    logits = make_logits(60, 3, seed=4)
    probabilities = softmax(logits).astype(np.float32)
    targets = np.random.default_rng(5).integers(3, size=60)
    left_out = np.repeat([1.0, 0.0], 30)
    assert fit_temperature(probabilities, targets, left_out) == fit_temperature(
        probabilities[:30], targets[:30], np.ones(30)
    )


@pytest.mark.parametrize("count", [1, 7, 500])
def test_calibration_error_against_a_plain_loop(count):
    random = np.random.default_rng(count)
    confidence = random.random(count)
    confidence[: count // 3] = 1.0
    right = random.random(count) < confidence**2
    expected = 0.0
    for index in range(15):
        low, high = index / 15, (index + 1) / 15
        inside = [
            row
            for row in range(count)
            if low < confidence[row] <= high or (index == 0 and confidence[row] == 0)
        ]
        if inside:
            mean = sum(confidence[row] for row in inside) / len(inside)
            share = sum(bool(right[row]) for row in inside) / len(inside)
            expected += len(inside) / count * abs(mean - share)
    found = expected_calibration_error(confidence, right)
    assert found == pytest.approx(expected, abs=1e-12)


def test_calibration_error_of_the_extremes():
    assert expected_calibration_error(np.ones(4), np.ones(4)) == 0
    assert expected_calibration_error(np.ones(4), np.zeros(4)) == 1
    assert expected_calibration_error(np.zeros(4), np.zeros(4)) == 0
