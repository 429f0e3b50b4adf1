"""Grids too wide for every run: some of their cases are tested each time."""

from collections.abc import Iterable
from typing import Any

import pytest


def often(cases: Iterable[Any], *kept: Any) -> list[Any]:
    """Parameters of which all but `kept` are for `make test-exhaustive` alone."""
    return _mark(pytest.mark.exhaustive, cases, kept)


def first(cases: Iterable[Any], *kept: Any) -> list[Any]:
    """Parameters of which all but `kept` are for `make test-slow`."""
    return _mark(pytest.mark.slow, cases, kept)


def _mark(mark: Any, cases: Iterable[Any], kept: tuple[Any, ...]) -> list[Any]:
    return [case if case in kept else pytest.param(case, marks=mark) for case in cases]
