"""estimator_html: how an estimator shows itself in a notebook."""

import inspect
from typing import Any

import numpy as np
import pandas as pd

from keras_seq import html

_SHORT = str | int | float | list | tuple | np.ndarray | np.generic
# Learned attributes that are shown in their own way, or that are no short value.
_APART = ("model_", "history_", "validation_", "report_", "preprocessor_")


def estimator_html(estimator: Any) -> str:
    """Arguments that differ from the defaults, and what was learned, if anything.

    Args:
        estimator: With scikit-learn's conventions: arguments under their own names,
            learned attributes ending in `_`.
    """
    name = type(estimator).__name__
    changed = changed_arguments(estimator)
    arguments = html.pairs(changed, "arguments other than the defaults")
    if not changed:
        arguments = html.note("all arguments are at their defaults")
    model = getattr(estimator, "model_", None)
    if model is None:
        return html.card(name, "not fitted", arguments)
    learned = {
        "network": f"{model.name}, {model.count_params():,} weights",
        **_learned(estimator),
    }
    return html.card(
        name,
        "fitted",
        arguments,
        html.pairs(learned, "learned"),
        _validation_html(getattr(estimator, "validation_", {})),
        _history_html(getattr(estimator, "history_", pd.DataFrame())),
    )


def changed_arguments(estimator: Any) -> dict[str, Any]:
    """Constructor arguments with other values than the defaults, in their order."""
    parameters = inspect.signature(type(estimator)).parameters
    return {
        name: value
        for name, value in estimator.get_params(deep=False).items()
        if not _same(value, parameters[name].default)
    }


def _same(value: Any, default: Any) -> bool:
    if isinstance(value, np.ndarray | pd.Series | pd.Index):
        return False  # no default is one
    same = type(value) is type(default) or not isinstance(value, bool)
    return same and bool(value == default)


def _learned(estimator: Any) -> dict[str, Any]:
    found = {}
    for name, value in vars(estimator).items():
        if name.startswith("_") or not name.endswith("_") or name in _APART:
            continue
        if isinstance(
            value, str | int | float | list | tuple | np.ndarray | np.generic
        ):
            found[name] = value
    return found


def _validation_html(validation: dict[str, Any]) -> str:
    if not validation:
        return html.note("nothing was held back to validate on")
    if "baselines" not in validation:
        return html.pairs(validation, "on the validation part")
    heading = f"on the {validation.get('n', 0):,} examples held back"
    return html.note(heading) + html.scores_table(validation)


def _history_html(history: pd.DataFrame) -> str:
    if not len(history):
        return ""
    last = {str(name): value for name, value in history.iloc[-1].items()}
    content = html.pairs(last)
    return html.fold(f"history: the last of {len(history):,} rows", content)
