"""Plan: a function of named tensors that is exported, and how it is checked."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_seq.layers.state import STATE

Tensor = Any
Arrays = dict[str, np.ndarray]
# An exported model in its own runtime: named arrays in, named arrays out.
Run = Callable[[Arrays], Arrays]

# How far an exported model may be from the estimator, over the scale of the answers.
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Port:
    """A tensor that goes in or comes out.

    Attributes:
        dtype: Of NumPy; `"string"` is UTF-8.
        shape: None is any size.
        about: What it is, with its unit.
        details: More that the manifest tells of it.
    """

    dtype: str
    shape: tuple[int | None, ...]
    about: str
    details: Mapping[str, Any] = field(default_factory=dict)

    def describe(self) -> dict[str, Any]:
        """As the manifest has it."""
        known = {"dtype": self.dtype, "shape": list(self.shape), "about": self.about}
        return {**known, **self.details}


class Comparison(NamedTuple):
    """What the estimator says and what the exported model says."""

    expected: np.ndarray
    found: np.ndarray


@dataclass(frozen=True)
class Plan:
    """A function that is exported.

    Attributes:
        model: The network whose weights and layers the function uses.
        function: From named tensors to named tensors, of TensorFlow operations.
        inputs: Its arguments.
        outputs: What it returns.
        facts: What the manifest tells besides: labels, quantiles, lookback, ...
        compare: Runs the exported model on samples beside the estimator.
        unroll: Whether recurrent layers are written out step by step.
        tracked: Tables that the function looks up.
        companions: Files beside the exported one, by what is put behind its name.
    """

    model: keras.Model
    function: Callable[[dict[str, Tensor]], dict[str, Tensor]]
    inputs: dict[str, Port]
    outputs: dict[str, Port]
    facts: dict[str, Any]
    compare: Callable[[Run], Iterator[Comparison]]
    unroll: bool = False
    tracked: tuple[Any, ...] = ()
    companions: dict[str, bytes] = field(default_factory=dict)


def plan_of_model(
    model: keras.Model,
    *,
    about: Mapping[str, str],
    facts: dict[str, Any],
    compare: Callable[[Run], Iterator[Comparison]],
    batch_size: int | None = None,
    unroll: bool = False,
) -> Plan:
    """Plans the export of a functional model with a dict of inputs and of outputs.

    States that come and go as inputs and outputs are tensors like any other.

    Args:
        model: Its inputs and outputs are dicts of tensors.
        about: What each input and output is, by name.
        facts: For the manifest.
        compare: As of `Plan`.
        batch_size: Rows; None: as the model has it.
        unroll: As of `Plan`.

    Raises:
        TypeError: If inputs or outputs are not dicts.
    """
    for name, given in (("input", model.input), ("output", model.output)):
        if not isinstance(given, dict):
            raise TypeError(
                f"`model` must have dicts of inputs and outputs. Received: {name} of "
                f"type {type(given).__name__}"
            )

    def ports(tensors: dict[str, Any]) -> dict[str, Port]:
        return {
            name: Port(
                keras.backend.standardize_dtype(tensor.dtype),
                (batch_size or tensor.shape[0], *tensor.shape[1:]),
                about[name],
            )
            for name, tensor in tensors.items()
        }

    return Plan(
        model,
        lambda inputs: model(inputs, training=False),
        ports(model.input),
        ports(model.output),
        facts,
        compare,
        unroll,
    )


def rebuilt(estimator: Any, **changed: Any) -> keras.Model:
    """A network with the weights of the fitted one, and without its optimiser's.

    Args:
        estimator: Fitted.
        changed: Arguments of the builder that differ, which must not need weights that
            the fitted network does not have.
    """
    model = estimator._build_model(**{**estimator._builder_args, **changed})
    given = {weight.path: weight for weight in estimator.model_.weights}
    for weight in model.weights:
        if f"/{STATE}_" not in weight.path:
            weight.assign(keras.ops.convert_to_numpy(given[weight.path]))
    return model


def check_plan(plan: Plan, run: Run) -> dict[str, float]:
    """Runs an exported model beside the estimator.

    Returns:
        `max_abs_difference`, `scale` (the largest number expected, at least 1), and
        how many `values` were compared.

    Raises:
        RuntimeError: If they differ by more than 1e-5 of the scale.
    """
    difference, scale, values = 0.0, 1.0, 0
    for expected, found in plan.compare(run):
        if expected.shape != found.shape:
            raise RuntimeError(
                "The exported model gives answers of another shape than the estimator: "
                f"{found.shape} instead of {expected.shape}"
            )
        expected, found = expected.astype(np.float64), found.astype(np.float64)
        same = np.isnan(expected) & np.isnan(found)
        gaps = np.where(same, 0.0, np.abs(expected - found))
        difference = max(difference, float(gaps.max(initial=0.0)))
        if not np.isfinite(gaps).all():
            difference = float("inf")
        known = np.abs(expected[np.isfinite(expected)])
        scale = max(scale, float(known.max(initial=0.0)))
        values += expected.size
    if not values:
        raise RuntimeError("The exported model was compared on no sample at all.")
    if not difference <= TOLERANCE * scale:
        raise RuntimeError(
            "The exported model differs from the estimator by up to "
            f"{difference:g}, where answers reach {scale:g}: more than {TOLERANCE:g} "
            "of it. Nothing was written."
        )
    return {"max_abs_difference": difference, "scale": scale, "values": values}
