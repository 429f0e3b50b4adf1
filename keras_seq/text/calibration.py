"""Calibration: one temperature that makes probabilities as sure as they are right."""

import numpy as np

# Temperatures outside are no calibration any more.
_LOWEST, _HIGHEST = 0.05, 20.0
# Standard deviation of log T before any text was seen. Without it a handful of texts
# that are all right would ask for certainty.
_PRIOR_SCALE = 0.25
# By how much the log likelihood has to rise: half the 95 % point of chi-squared with
# one degree of freedom. Less is noise, and training stopped where validation was at its
# luckiest, so that noise asks for more certainty than new texts bear out.
_LEAST_GAIN = 1.92
_NUM_BINS = 15


def apply_temperature(
    probabilities: np.ndarray, temperature: float, multi_label: bool = False
) -> np.ndarray:
    """Divides the logits behind probabilities by a temperature.

    Args:
        probabilities: float32, `(n, num_classes)`.
        temperature: Above 0; above 1 is less sure, 1.0 returns what came in.
        multi_label: Whether each column is a probability by itself.

    Returns:
        float32, `(n, num_classes)`: p^(1/T), each row made to sum to one again, or
        with `multi_label` each p with its 1 - p. The likeliest class of a row stays.
    """
    if temperature == 1.0:
        return probabilities
    log_odds = _log_odds(probabilities, multi_label) / temperature
    if multi_label:
        return np.exp(-np.logaddexp(0.0, -log_odds)).astype(np.float32)
    tempered = np.exp(log_odds - _log_sum(log_odds)).astype(np.float32)
    likeliest = probabilities.argmax(axis=1)
    # Rounding to float32 may make two equal that were not.
    rows = np.flatnonzero(tempered.argmax(axis=1) != likeliest)
    above = np.nextafter(tempered[rows].max(axis=1), np.float32(2))
    tempered[rows, likeliest[rows]] = above
    return tempered


def fit_temperature(
    probabilities: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray,
    multi_label: bool = False,
) -> float:
    """The temperature with the least log loss, and 1.0 if none clearly lowers it.

    A prior around 1 keeps it near there where there are few texts.

    Args:
        probabilities: `(n, num_classes)`.
        targets: int, `(n,)`; with `multi_label` 0 and 1, `(n, num_classes)`.
        weights: `(n,)`, at least 0.
        multi_label: Whether each column is a probability by itself.

    Reference:
        Guo et al., 2017, section 4.2; the prior and the least gain are ours.
    """
    kept = weights > 0
    if not kept.any():
        return 1.0
    log_odds = _log_odds(probabilities[kept], multi_label)
    targets, weights = targets[kept], weights[kept].astype(np.float64)
    weights = weights / weights.mean()  # the prior is worth so many texts, not weights

    def loss(temperature: float) -> float:
        scaled = log_odds / temperature
        if multi_label:
            rows = np.logaddexp(0.0, np.where(targets > 0, -scaled, scaled)).sum(axis=1)
        else:
            own = np.take_along_axis(scaled, targets[:, None], axis=1)
            rows = (_log_sum(scaled) - own)[:, 0]
        return float(weights @ rows)

    def objective(temperature: float) -> float:
        return loss(temperature) + (np.log(temperature) / _PRIOR_SCALE) ** 2 / 2

    low, high = _LOWEST, _HIGHEST
    for _ in range(4):  # each round narrows what is left to a tenth
        grid = np.geomspace(low, high, 21)
        best = int(np.argmin([objective(temperature) for temperature in grid]))
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, 20)]
    found = float(grid[best])
    return found if loss(1.0) - loss(found) > _LEAST_GAIN else 1.0


def expected_calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """How far confidence is from the share of what is right, in 15 equal-width bins.

    Args:
        confidence: In [0, 1], any shape.
        right: 0 and 1, of the same shape.

    Returns:
        The mean over bins, by their size, of |mean confidence - share right|.

    Reference:
        Guo et al., 2017, equation 3.
    """
    flat = np.asarray(confidence, np.float64).reshape(-1)
    hits = np.asarray(right, np.float64).reshape(-1)
    # A bin has its upper end, and the first one 0 as well.
    bins = np.clip(np.ceil(flat * _NUM_BINS).astype(int) - 1, 0, _NUM_BINS - 1)
    gaps = np.bincount(bins, flat - hits, minlength=_NUM_BINS)
    return float(np.abs(gaps).sum() / max(len(flat), 1))


def _log_odds(probabilities: np.ndarray, multi_label: bool) -> np.ndarray:
    """float64 logits, up to a constant per row; finite where float32 met its limits."""
    exact = probabilities.astype(np.float64)
    least = float(np.finfo(np.float32).tiny)
    logs = np.log(np.maximum(exact, least))
    if not multi_label:
        return logs
    # The largest float32 below 1 is 1 - 2^-24: nearer ones became 1.
    return logs - np.log(np.maximum(1.0 - exact, 2.0**-25))


def _log_sum(values: np.ndarray) -> np.ndarray:
    """log(sum(exp)) of each row: `(n, 1)`."""
    top = values.max(axis=1, keepdims=True)
    return top + np.log(np.exp(values - top).sum(axis=1, keepdims=True))
