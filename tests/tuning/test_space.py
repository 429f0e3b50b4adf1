"""The space: what may be varied, and no two clips at once."""

from typing import Any

import numpy as np
import pytest

from keras_seq.tuning.space import FunctionSpace, Space
from keras_seq.tuning.suggester import Suggester
from tests.tuning.fake import Fake

OWN = Fake().get_params()


def _draw(space: dict[str, Any], count: int = 40) -> list[dict[str, Any]]:
    checked = Space(space, OWN)
    suggester = Suggester(checked, "random", maximize=False, seed=0)
    values = [suggester.suggest(trial) for trial in range(count)]
    return [checked.decode(v) for v in values if v is not None]


def test_ranges_keep_their_limits_and_types() -> None:
    drawn = _draw({"units": (8, 512, "log"), "dropout": (0.0, 0.6)})
    units = np.array([d["units"] for d in drawn])
    assert all(type(d["units"]) is int and type(d["dropout"]) is float for d in drawn)
    assert units.min() >= 8
    assert units.max() <= 512
    # Half of the draws of a logarithmic range lie below its geometric mean, 64.
    assert 10 <= (units < 64).sum() <= 30
    assert all(0 <= d["dropout"] <= 0.6 for d in drawn)


def test_choices_hold_anything() -> None:
    options = [None, "b", (64, 32), 3]
    drawn = _draw({"kind": options}, count=60)
    assert {type(d["kind"]) for d in drawn} == {type(None), str, tuple, int}
    assert all(d["kind"] in options for d in drawn)


def test_of_two_clips_each_trial_uses_one() -> None:
    drawn = _draw({"global_clipnorm": (0.1, 10.0, "log"), "clipvalue": [0.5, 1.0]})
    used = [{name for name, value in d.items() if value is not None} for d in drawn]
    assert {frozenset(names) for names in used} == {
        frozenset({"global_clipnorm"}),
        frozenset({"clipvalue"}),
    }


def test_one_clip_switches_the_others_off() -> None:
    drawn = _draw({"clipvalue": (0.1, 1.0)}, count=3)
    assert all(d["global_clipnorm"] is None and d["clipvalue"] > 0 for d in drawn)


@pytest.mark.parametrize(
    ("own", "inside"),
    [
        ({"units": 64, "dropout": 0.2}, {"units": 1, "dropout": 0.2}),
        ({"units": 48, "dropout": 0.2}, None),
        ({"units": 64, "dropout": 0.9}, None),
        ({"units": (64, 64), "dropout": 0.2}, None),
    ],
)
def test_own_arguments_count_only_if_they_lie_in_the_space(
    own: dict[str, Any], inside: dict[str, Any] | None
) -> None:
    space = Space({"units": [32, 64], "dropout": (0.0, 0.6)}, OWN)
    assert space.encode({**OWN, **own}) == inside


@pytest.mark.parametrize(
    ("space", "own", "inside"),
    [
        ({"global_clipnorm": (0.1, 10.0)}, {}, {"global_clipnorm": 1.0}),
        ({"global_clipnorm": (0.1, 10.0)}, {"clipvalue": 1.0}, None),
        ({"clipvalue": [None, 1.0]}, {}, None),
        (
            {"global_clipnorm": [1.0, 2.0], "clipvalue": [1.0]},
            {"clipvalue": 1.0},
            {"clipping": "clipvalue", "clipvalue": 0},
        ),
        (
            {"global_clipnorm": [1.0, 2.0], "clipvalue": [1.0]},
            {"global_clipnorm": None},
            None,
        ),
    ],
)
def test_own_clipping_is_what_auto_resolves_to(
    space: dict[str, Any], own: dict[str, Any], inside: dict[str, Any] | None
) -> None:
    assert Space(space, OWN).encode({**OWN, **own}) == inside


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"unit": [1]}, "Did you mean 'units'"),
        ({"seed": [0, 1]}, "picks luck"),
        ({"refit_full": [True]}, "must not vary 'refit_full'"),
        ({}, "at least one"),
        ({"units": []}, "list of values"),
        ({"units": 32}, r"Received: 32"),
        ({"units": (64, 32)}, "low < high"),
        ({"dropout": (0.0, 0.5, "log")}, "begin above 0"),
        ({"dropout": (0.0, 0.5, "cubic")}, "list of values, or a range"),
        ({"dropout": (0.0, float("inf"))}, "low < high"),
    ],
)
def test_bad_spaces_are_named(space: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Space(space, OWN)


def test_a_grid_holds_the_limits_and_one_clip_at_a_time() -> None:
    limits = {
        "units": (8, 128, "log"),
        "num_layers": (1, 3),
        "clipvalue": (0.1, 10.0, "log"),
        "clipnorm": [1.0, 2.0],
    }
    params = {**dict.fromkeys(limits), "global_clipnorm": "auto"}
    space = Space(limits, params)
    combinations = [space.decode(values) for values in space.grid()]
    assert len(combinations) == 5 * 3 * (5 + 2)
    assert {c["units"] for c in combinations} == {8, 16, 32, 64, 128}
    assert {c["num_layers"] for c in combinations} == {1, 2, 3}
    by_value = {c["clipvalue"] for c in combinations if c["clipnorm"] is None}
    np.testing.assert_allclose(
        sorted(by_value), 10.0 ** np.array([-1, -0.5, 0, 0.5, 1])
    )
    assert (min(by_value), max(by_value)) == (0.1, 10.0)  # the limits to the last bit
    by_norm = {c["clipnorm"] for c in combinations if c["clipvalue"] is None}
    assert by_norm == {1.0, 2.0}
    assert all(c["global_clipnorm"] is None for c in combinations)


def _depends(hp: Any) -> dict[str, Any]:
    kind = hp.Choice("kind", ["none", "value", "norm"])
    if kind == "value":
        return {"kind": kind, "clipvalue": hp.Float("value", 0.1, 1.0)}
    if kind == "norm":
        norm = hp.Float("norm", 1.0, 10.0, sampling="log")
        return {"kind": kind, "global_clipnorm": norm, "units": 64}
    return {"kind": kind}


def test_a_function_spans_what_depends_on_something_else() -> None:
    space = FunctionSpace(_depends, OWN)
    assert sorted(space.names) == ["clipvalue", "global_clipnorm", "kind", "units"]
    assert sorted(space.describe()) == ["kind", "norm", "value"]
    for algorithm in ("random", "bayesian"):
        suggester = Suggester(space, algorithm, maximize=False, seed=0)
        drawn = []
        for trial in range(12):
            values = suggester.suggest(trial)
            assert values is not None
            suggester.begin(trial, values)
            suggester.end(trial, float(trial))
            drawn.append(space.decode(values))
        assert {d["kind"] for d in drawn} == {"none", "value", "norm"}
        assert all(0.1 <= d["clipvalue"] <= 1 for d in drawn if d["kind"] == "value")
        assert all("clipvalue" not in d for d in drawn if d["kind"] != "value")
        assert all(d["units"] == 64 for d in drawn if d["kind"] == "norm")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda hp: {"unit": hp.Int("unit", 1, 9)}, "Did you mean 'units'"),
        (lambda hp: {"seed": hp.Int("seed", 1, 9)}, "picks luck"),
        (lambda hp: hp.Int("units", 1, 9), "must return a dict"),
        (lambda hp: {"units": 32}, "at least one value"),
    ],
)
def test_a_function_is_checked_like_a_dict(function: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FunctionSpace(function, OWN)
