"""What the library says when the input is wrong, and the checks that say it.

Every message names the argument, states the rule and ends in the value received.
"""

import difflib
import functools
import inspect
import math
import numbers
import sys
import warnings
from collections.abc import Callable, Collection, Iterable
from types import FrameType
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


class ArtifactError(ValueError):
    """A saved model cannot be read: damaged, foreign, or from a newer version."""


def __getattr__(name: str) -> Any:
    # scikit-learn's own class, so that code written for its estimators catches it;
    # imported late, since scikit-learn takes longer to load than all of keras_seq.
    if name == "NotFittedError":
        from sklearn.exceptions import NotFittedError

        return NotFittedError
    raise AttributeError(f"module 'keras_seq.errors' has no attribute {name!r}")


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """Returns `" Did you mean 'units'?"` for a close match, else an empty string."""
    close = difflib.get_close_matches(name, list(valid), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def name_some(values: Collection[Any]) -> str:
    """The first five of many names, as `'a', 'b', ...`."""
    return ", ".join(map(repr, list(values)[:5])) + ", ..." * (len(values) > 5)


def warn(message: str) -> None:
    """Warns at the line that called this package, however deep in it the warning is."""
    package = __name__.partition(".")[0]
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and _is_of(frame, package):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)


def _is_of(frame: FrameType, package: str) -> bool:
    return frame.f_globals.get("__name__", "").partition(".")[0] == package


def suggests_names(function: Function) -> Function:
    """Makes a misspelt keyword argument name the argument that was meant."""
    parameters = inspect.signature(function).parameters
    valid = [name for name in parameters if name != "self"]

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        for name in kwargs:
            if name not in parameters:
                owner = function.__qualname__.removesuffix(".__init__")
                raise TypeError(
                    f"{owner} has no argument {name!r}.{did_you_mean(name, valid)} "
                    f"It takes: {', '.join(valid)}."
                )
        return function(*args, **kwargs)

    return checked  # type: ignore[return-value]


def check_choice(name: str, value: Any, choices: Collection[Any]) -> None:
    """Raises unless `value` is one of `choices`."""
    if isinstance(value, str | int | float | None) and value in choices:
        return
    names = [choice for choice in choices if isinstance(choice, str)]
    hint = did_you_mean(value, names) if isinstance(value, str) else ""
    options = ", ".join(repr(choice) for choice in choices)
    raise ValueError(
        f"`{name}` must be one of {options}.{hint} Received: {name}={value!r}"
    )


def check_integer(name: str, value: Any, minimum: int) -> int:
    """Returns `value` as an int, or raises unless it is a whole number >= minimum."""
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not whole or value < minimum:
        raise ValueError(
            f"`{name}` must be a whole number of at least {minimum}. "
            f"Received: {name}={value!r}"
        )
    return int(value)


def check_number(
    name: str, value: Any, *, above: float = -math.inf, below: float = math.inf
) -> float:
    """Returns `value` as a float, or raises unless `above < value < below`."""
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not real or not above < value < below:
        limits = [f"above {above:g}"] * (above > -math.inf)
        limits += [f"below {below:g}"] * (below < math.inf)
        raise ValueError(
            f"`{name}` must be a finite number {' and '.join(limits)}".rstrip()
            + f". Received: {name}={value!r}"
        )
    return float(value)


def check_rate(name: str, value: Any) -> float:
    """Returns a dropout-like rate as a float, or raises unless `0 <= value < 1`."""
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not real or not 0 <= value < 1:
        raise ValueError(
            f"`{name}` must be a number in [0, 1). Received: {name}={value!r}"
        )
    return float(value)


def refuse_unavailable(arguments: dict[str, tuple[Any, Any]]) -> None:
    """Raises for an argument set away from the only value this version supports.

    Args:
        arguments: `name: (value received, the supported value)`.
    """
    for name, (value, supported) in arguments.items():
        if value != supported:
            raise ValueError(
                f"`{name}` is not available in this version of keras_seq: leave it "
                f"at {supported!r}. Received: {name}={value!r}"
            )
