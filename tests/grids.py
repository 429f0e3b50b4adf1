"""Grids too wide for every run: some of their cases are tested each time."""

from collections.abc import Iterable
from typing import Any

import pytest


def often(cases: Iterable[Any], *kept: Any) -> list[Any]:
    """Parameters of which all but `kept` are for `make test-exhaustive` alone."""
    rare = pytest.mark.exhaustive
    return [case if case in kept else pytest.param(case, marks=rare) for case in cases]
