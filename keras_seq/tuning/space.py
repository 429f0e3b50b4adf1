"""Space: which constructor arguments a search varies, and within which limits."""

import itertools
import math
import numbers
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras_tuner
import numpy as np

from keras_seq.errors import did_you_mean
from keras_seq.training.runtime import derive_seed

CLIPPING = ("global_clipnorm", "clipnorm", "clipvalue")
_CLIP = "clipping"  # the search's own variable: which of several clips is on

_GRID_POINTS = 5
_QUIET_CALLS = 30

# What would change the question instead of the answer.
_FIXED = {
    "seed": "a search over seeds picks luck",
    "refit_full": "trials never refit and the winner always does",
    "horizon": "scores of different horizons cannot be compared",
    "season_length": "it is part of the score",
    "validation_split": "all trials must be scored on the same rows",
}


@dataclass(frozen=True)
class Choices:
    """A list of values; kept as its index, so that any value can be in it."""

    options: tuple[Any, ...]

    def declare(self, hyperparameters: Any, name: str) -> None:
        hyperparameters.Choice(name, list(range(len(self.options))))

    def points(self) -> list[int]:
        """The values that a grid takes."""
        return list(range(len(self.options)))

    def decode(self, value: int) -> Any:
        return self.options[value]

    def encode(self, value: Any) -> int | None:
        for index, option in enumerate(self.options):
            if type(option) is type(value) and option == value:
                return index
        return None


@dataclass(frozen=True)
class Range:
    """All numbers from `low` to `high`; whole ones if both limits are."""

    low: float
    high: float
    sampling: str = "linear"

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    def declare(self, hyperparameters: Any, name: str) -> None:
        add = hyperparameters.Int if self.whole else hyperparameters.Float
        add(name, self.low, self.high, sampling=self.sampling)

    def points(self) -> list[float]:
        """The values that a grid takes: five, evenly spaced, both limits among them."""
        space = np.geomspace if self.sampling == "log" else np.linspace
        points = space(self.low, self.high, _GRID_POINTS)
        if self.whole:
            return sorted({round(point) for point in points.tolist()})
        points[0], points[-1] = self.low, self.high  # geomspace rounds
        return points.tolist()

    def decode(self, value: float) -> float:
        return int(value) if self.whole else float(value)

    def encode(self, value: Any) -> float | None:
        real = isinstance(value, numbers.Real) and not isinstance(value, bool)
        if not real or not self.low <= value <= self.high:
            return None
        return value if not self.whole or value == int(value) else None


class Space:
    """The checked space of one search.

    Args:
        space: `{argument: limits}`: a list holds the values to choose from; a tuple
            `(low, high)` or `(low, high, "log")` is a range.
        params: The estimator's own arguments.

    Raises:
        ValueError: If a name is no argument of the estimator, or limits make no sense.
    """

    def __init__(self, space: Mapping[str, Any], params: Mapping[str, Any]):
        if not isinstance(space, Mapping) or not space:
            raise ValueError(
                "`space` must be a dict of at least one argument and its limits, such "
                f"as {{'units': [32, 64]}}. Received: space={space!r}"
            )
        for name in space:
            _check_name(name, params)
        self.dimensions = {name: _parse(name, space[name]) for name in space}
        self.clips = [name for name in CLIPPING if name in self.dimensions]
        self._other_clips = [
            name for name in CLIPPING if name in params and name not in self.clips
        ]

    @property
    def names(self) -> list[str]:
        """All arguments that a trial sets."""
        return [*self.dimensions, *(self._other_clips if self.clips else [])]

    def hyperparameters(self) -> Any:
        """The space as keras-tuner's HyperParameters.

        Of several clipping arguments, which exclude each other, one more variable
        chooses the one that is on.
        """
        result = keras_tuner.HyperParameters()
        conditional = self.clips if len(self.clips) > 1 else []
        for name, dimension in self.dimensions.items():
            if name not in conditional:
                dimension.declare(result, name)
        if conditional:
            result.Choice(_CLIP, conditional)
        for name in conditional:
            with result.conditional_scope(_CLIP, [name]):
                self.dimensions[name].declare(result, name)
        return result

    def grid(self) -> Iterator[dict[str, Any]]:
        """All combinations as keras-tuner's values; the first name varies slowest."""
        several = self.clips if len(self.clips) > 1 else []
        clips: list[str | None] = [*several] or [None]
        for clip in clips:
            names = [n for n in self.dimensions if n not in several or n == clip]
            points = [self.dimensions[name].points() for name in names]
            for combination in itertools.product(*points):
                chosen = {_CLIP: clip} if clip else {}
                yield {**chosen, **dict(zip(names, combination, strict=True))}

    def decode(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Estimator arguments from keras-tuner's values."""
        # An argument without a value is a clip that is off.
        return {
            name: self.dimensions[name].decode(values[name]) if name in values else None
            for name in self.names
        }

    def encode(self, params: Mapping[str, Any]) -> dict[str, Any] | None:
        """Keras-tuner's values from estimator arguments; None if they lie outside."""
        params = dict(params)
        if params.get("global_clipnorm") == "auto":  # what the builders make of it
            alone = params.get("clipnorm") is None and params.get("clipvalue") is None
            params["global_clipnorm"] = 1.0 if alone else None
        on = [name for name in CLIPPING if params.get(name) is not None]
        if self.clips and not set(on) <= set(self.clips):
            return None
        values: dict[str, Any] = {}
        if len(self.clips) > 1:
            if len(on) != 1:
                return None
            values[_CLIP] = on[0]
        for name, dimension in self.dimensions.items():
            if len(self.clips) > 1 and name in self.clips and name not in on:
                continue
            value = dimension.encode(params[name])
            if value is None:
                return None
            values[name] = value
        return values

    def describe(self) -> dict[str, Any]:
        """The limits, to be compared with those of a stored search."""
        return {
            name: list(dimension.options)
            if isinstance(dimension, Choices)
            else [[dimension.low, dimension.high, dimension.sampling]]
            for name, dimension in self.dimensions.items()
        }


class FunctionSpace:
    """A space that a function spans, for what depends on something else.

    What the function declares only under some values is found by calling it with
    others drawn at random, until thirty calls in a row have shown nothing new.

    Args:
        function: Takes keras-tuner's HyperParameters, asks them for values and returns
            the arguments that a trial sets. It has to answer alike when asked again.
        params: The estimator's own arguments.

    Raises:
        ValueError: If what it returns are no arguments of the estimator.
    """

    def __init__(
        self, function: Callable[[Any], Mapping[str, Any]], params: Mapping[str, Any]
    ):
        self._function, self._params = function, params
        self._found = keras_tuner.HyperParameters()
        self.names = list(self._call(self._found))
        quiet, calls = 0, 0
        while quiet < _QUIET_CALLS:
            quiet, calls = quiet + 1, calls + 1
            tried = keras_tuner.HyperParameters()
            for position, dimension in enumerate(self._found.space):
                tried.merge([dimension])
                if tried.is_active(dimension):
                    seed = derive_seed(0, calls, "space", position)
                    tried.values[dimension.name] = dimension.random_sample(seed)
            declared = len(self._found.space)
            new = [name for name in self._call(tried) if name not in self.names]
            self.names += new
            self._found.merge(tried, overwrite=False)
            if new or len(self._found.space) > declared:
                quiet = 0
        if not self._found.space:
            raise ValueError(
                "`space`, a function, must ask its HyperParameters for at least one "
                f"value. Received: {function!r}"
            )

    def _call(self, hyperparameters: Any) -> dict[str, Any]:
        arguments = self._function(hyperparameters)
        if not isinstance(arguments, Mapping):
            raise ValueError(
                "`space`, a function, must return a dict of arguments. "
                f"Received: {arguments!r}"
            )
        for name in arguments:
            _check_name(name, self._params)
        return dict(arguments)

    def hyperparameters(self) -> Any:
        return self._found.copy()

    def grid(self) -> Iterator[dict[str, Any]]:
        raise ValueError(
            "`algorithm='grid'` needs `space` as a dict; what a function declares has "
            "no order. Received: a function"
        )

    def decode(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """What the function makes of keras-tuner's values."""
        hyperparameters = self._found.copy()
        hyperparameters.values = dict(values)
        return self._call(hyperparameters)

    def encode(self, params: Mapping[str, Any]) -> None:
        """A function cannot be turned round: the estimator itself lies outside."""

    def describe(self) -> dict[str, Any]:
        return {d["config"]["name"]: d for d in self._found.get_config()["space"]}


def make_space(space: Any, params: Mapping[str, Any]) -> Space | FunctionSpace:
    """The checked space from what `tune` takes: a dict or a function."""
    return FunctionSpace(space, params) if callable(space) else Space(space, params)


def _check_name(name: str, params: Mapping[str, Any]) -> None:
    if name in _FIXED:
        raise ValueError(f"`space` must not vary {name!r}: {_FIXED[name]}.")
    if name not in params:
        raise ValueError(
            f"`space` names {name!r}, which is no argument of the estimator."
            f"{did_you_mean(str(name), params)} It has: {', '.join(params)}."
        )


def _parse(name: str, limits: Any) -> Choices | Range:
    if isinstance(limits, list) and limits:
        numeric = all(
            isinstance(v, int | float) and not isinstance(v, bool) for v in limits
        )
        # In order, neighbours in a list of numbers are alike: the search learns more.
        return Choices(tuple(sorted(limits) if numeric else limits))
    if isinstance(limits, tuple) and 2 <= len(limits) <= 3:
        sampling = limits[2] if len(limits) == 3 else "linear"
        low, high = limits[:2]
        real = all(
            isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v)
            for v in (low, high)
        )
        if real and low < high and (sampling == "linear" or sampling == "log"):
            if sampling == "log" and low <= 0:
                raise ValueError(
                    f"`space[{name!r}]` is logarithmic and must begin above 0. "
                    f"Received: {limits!r}"
                )
            return Range(low, high, sampling)
    raise ValueError(
        f"`space[{name!r}]` must be a list of values, or a range (low, high) or "
        f"(low, high, 'log') with low < high. Received: {limits!r}"
    )
