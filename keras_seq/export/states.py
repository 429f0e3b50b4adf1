"""States that networks carry, as inputs and outputs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras

from keras_seq.layers.state import STATE, CarriedState

Tensor = Any


class _Carrier:
    """Stands for a layer's states while a network is traced."""

    def __init__(self, values: list[Tensor]):
        self.values = values

    def read_states(
        self, inputs: Tensor, training: Any, reset: Tensor | None = None
    ) -> list[Tensor]:
        return list(self.values)

    def write_states(self, values: list[Tensor], training: Any) -> None:
        self.values = list(values)


def state_widths(model: keras.Model) -> dict[str, int]:
    """Names of the states of one row, in order, and how many numbers each has."""
    return {
        name: int(weight.shape[1])
        for prefix, layer in _carrying(model)
        for name, weight in _named(prefix, layer)
    }


@contextmanager
def explicit_states(
    model: keras.Model, states: dict[str, Tensor]
) -> Iterator[dict[str, Tensor]]:
    """Makes a stateful network start from given states, and leave its own alone.

    Args:
        model: Of a builder with `stateful=True`; or another, which has no states.
        states: Each `(batch, width)`, by the names of `state_widths`. The batch may
            have any size.

    Yields:
        A dict that has the new states, by the same names, once the block has ended.
    """
    found: dict[str, Tensor] = {}
    carriers = []
    for prefix, layer in _carrying(model):
        names = [name for name, _ in _named(prefix, layer)]
        carrier = _Carrier([states[name] for name in names])
        layer.read_states = carrier.read_states
        layer.write_states = carrier.write_states
        carriers.append((layer, names, carrier))
    try:
        yield found
    finally:
        for layer, names, carrier in carriers:
            del layer.read_states, layer.write_states
            found.update(zip(names, carrier.values, strict=True))


def _named(prefix: str, layer: Any) -> Iterator[tuple[str, Any]]:
    for weight in layer._states["inference"]:
        yield f"{prefix}_{weight.name.removeprefix(f'{STATE}_inference_')}", weight


def _carrying(model: keras.Model, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for layer in model.layers:
        name = f"{prefix}{layer.name}"
        if isinstance(layer, CarriedState):
            yield name, layer
        elif isinstance(layer, keras.Model):
            yield from _carrying(layer, f"{name}_")
