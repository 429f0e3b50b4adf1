"""Integrated gradients: what each part of an input adds to an output."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_seq.errors import check_integer, check_number
from keras_seq.training.autodiff import as_numpy, compiled, value_and_gradients

Tensor = Any

# Numbers of the inputs that go through the network at once.
_ROOM = 2**21
_MOST_ROWS = 256
# Gaps below this part of the largest output are rounding.
_ROUNDING = 1e-5
# The path is walked so that its beginning, where networks bend most (inputs of zero,
# windows without spread), is seen best: places are cubes of even ones.
_BEND = 3


class Integrated(NamedTuple):
    """What `integrate` found, by row.

    Attributes:
        gradients: As `inputs`: means of the gradient along the path.
        value: float64, `(rows,)`: the score at the inputs.
        baseline: float64, `(rows,)`: the score where the path begins.
        gap: float64, `(rows,)`: what contributions add up to beyond the change of the
            score.
        size: float64, `(rows,)`: sum of the contributions' sizes.
        steps: int64, `(rows,)`: gradients taken along the path.
    """

    gradients: dict[str, np.ndarray]
    value: np.ndarray
    baseline: np.ndarray
    gap: np.ndarray
    size: np.ndarray
    steps: np.ndarray


class Effort(NamedTuple):
    """How closely a path is followed.

    Attributes:
        steps: Gradients taken at first.
        tolerance: Gap that is left be, over the sum of the contributions' sizes.
        max_steps: Gradients taken at most.
    """

    steps: int
    tolerance: float
    max_steps: int

    @classmethod
    def checked(cls, steps: Any, tolerance: Any, max_steps: Any) -> "Effort":
        """Raises for arguments out of range."""
        check_integer("steps", steps, 2)
        return cls(
            steps,
            check_number("tolerance", tolerance, above=0),
            check_integer("max_steps", max_steps, steps),
        )


@contextmanager
def standing_in(
    replacements: Mapping[keras.layers.Layer, Callable],
) -> Iterator[None]:
    """Lets functions stand for the `call` of layers, within."""
    for layer, function in replacements.items():
        vars(layer)["call"] = function  # not an attribute that Keras would track
    try:
        yield
    finally:
        for layer in replacements:
            del vars(layer)["call"]


def integrate(
    score: Callable[[dict[str, Tensor], dict[str, Tensor]], Tensor],
    variables: list[keras.Variable],
    inputs: dict[str, np.ndarray],
    baseline: dict[str, np.ndarray],
    fixed: dict[str, np.ndarray],
    effort: Effort,
) -> Integrated:
    """Means of a score's gradient along the straight line from a baseline.

    A part's contribution is its distance from the baseline times this mean; the
    contributions of all parts add up to the change of the score (completeness), but
    for the gap that a sum over few points leaves. Rows with a larger gap than is
    tolerated are done again with twice the points.

    Args:
        score: Of `inputs` (or what lies between) and `fixed`: `(rows,)`, each row's by
            itself; computed in a stateless scope.
        variables: All that the score depends on.
        inputs: Float arrays, `(rows, ...)` each.
        baseline: Likewise.
        fixed: Arrays, `(rows, ...)`: what else the score needs, as it is.
        effort: How closely the path is followed.

    Reference:
        Sundararajan et al., 2017, Axiomatic Attribution for Deep Networks, section 3.
        Gauss-Legendre points after a change of variable, in place of equal steps.
    """
    walk = _Walk(score, variables, inputs, baseline, fixed)
    rows, steps = np.arange(walk.count), effort.steps
    found = walk.along(rows, steps)
    while True:
        allowed = effort.tolerance * found.size + _ROUNDING * np.maximum(
            np.abs(found.value), np.abs(found.baseline)
        )
        rows = np.flatnonzero(np.abs(found.gap) > allowed)
        steps *= 2
        if not len(rows) or steps > effort.max_steps:
            return found
        again = walk.along(rows, steps)
        for name, gradient in found.gradients.items():
            gradient[rows] = again.gradients[name]
        for old, new in zip(found[1:], again[1:], strict=True):
            old[rows] = new


class _Walk:
    """Takes gradients at points between a baseline and inputs."""

    def __init__(
        self,
        score: Callable,
        variables: list[keras.Variable],
        inputs: dict[str, np.ndarray],
        baseline: dict[str, np.ndarray],
        fixed: dict[str, np.ndarray],
    ):
        self.start = {name: np.asarray(x, np.float64) for name, x in baseline.items()}
        self.way = {name: x - self.start[name] for name, x in inputs.items()}
        self.fixed = fixed
        self.variables = variables
        self.count = len(next(iter(inputs.values())))
        size = sum(array[0].size for array in self.way.values())
        self.chunk = 1 << int(np.clip(_ROOM // size, 1, _MOST_ROWS)).bit_length() - 1

        def differentiate(inputs: Any, fixed: Any, values: Any) -> Any:
            def total(inputs: Any) -> tuple[Tensor, Tensor]:
                pairs = zip(variables, values, strict=True)
                # Within the scope metrics and states that are carried on stay.
                with keras.StatelessScope(pairs):
                    scores = score(inputs, fixed)
                return ops.sum(scores), scores

            _, scores, gradients = value_and_gradients(total, inputs)
            return scores, gradients

        jax = keras.backend.backend() == "jax"
        self.differentiate = compiled(differentiate) if jax else differentiate

    def along(self, rows: np.ndarray, steps: int) -> Integrated:
        nodes, weights = np.polynomial.legendre.leggauss(steps)
        even = 0.5 + 0.5 * nodes
        places = np.concatenate([[0.0, 1.0], even**_BEND])
        parts = _BEND * even ** (_BEND - 1) * 0.5 * weights
        parts = np.concatenate([[0.0, 0.0], parts])  # the ends are only looked at
        means = {n: np.zeros((len(rows), *x.shape[1:])) for n, x in self.way.items()}
        scores = np.zeros((len(rows), len(places)))
        jobs = np.arange(scores.size)
        for begin in range(0, len(jobs), self.chunk):
            some = jobs[begin : begin + self.chunk]
            row, node = np.divmod(some, len(places))
            found, gradients = self._gradients(rows[row], places[node])
            scores[row, node] = found
            for name, gradient in gradients.items():
                share = parts[node].reshape(-1, *[1] * (gradient.ndim - 1))
                np.add.at(means[name], row, share * gradient)
        terms = [
            (means[name] * self.way[name][rows]).reshape(len(rows), -1)
            for name in means
        ]
        value, baseline = scores[:, 1].copy(), scores[:, 0].copy()
        total = sum(term.sum(axis=1) for term in terms)
        return Integrated(
            means,
            value,
            baseline,
            np.asarray(total - (value - baseline)),
            np.asarray(sum(np.abs(term).sum(axis=1) for term in terms)),
            np.full(len(rows), steps),
        )

    def _gradients(
        self, rows: np.ndarray, places: np.ndarray
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        count = len(rows)
        # A last part that is shorter would be compiled anew.
        rows = np.pad(rows, (0, self.chunk - count), mode="edge")
        places = np.pad(places, (0, self.chunk - count), mode="edge")
        inputs = {}
        for name, way in self.way.items():
            place = places.reshape(-1, *[1] * (way.ndim - 1))
            point = self.start[name][rows] + place * way[rows]
            inputs[name] = ops.convert_to_tensor(point.astype(np.float32))
        fixed = {
            n: ops.convert_to_tensor(array[rows]) for n, array in self.fixed.items()
        }
        values = [ops.convert_to_tensor(v.value) for v in self.variables]
        scores, gradients = as_numpy(self.differentiate(inputs, fixed, values))
        return scores[:count], {name: g[:count] for name, g in gradients.items()}
