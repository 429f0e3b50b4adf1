"""Weights of a saved network by name, and the arguments it was built with."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from keras_seq.errors import ArtifactError

Array = np.ndarray[Any, np.dtype[Any]]


class WeightTable:
    """Weights by their path in the network, in the dtype that is computed in.

    Args:
        weights: Arrays by path, such as `"encoder/forward_0/gru_cell/kernel"`.
        dtype: Of the arrays that are taken out.
        folder: Where in the paths to look: `""` or one that ends in `/`.
    """

    def __init__(
        self, weights: Mapping[str, Array], dtype: Any = np.float32, folder: str = ""
    ):
        self._weights = weights
        self.dtype = np.dtype(dtype)
        self._folder = folder

    def __contains__(self, name: str) -> bool:
        return self._folder + name in self._weights

    def __getitem__(self, name: str) -> Array:
        if name not in self:
            raise ArtifactError(
                f"The network's weights lack {self._folder + name!r}, which its "
                "arguments ask for."
            )
        return np.asarray(self._weights[self._folder + name], self.dtype)

    def inside(self, folder: str) -> "WeightTable":
        """The weights of one layer."""
        return WeightTable(self._weights, self.dtype, f"{self._folder}{folder}/")


def network_weights(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Of an artefact's arrays those of its network, by their paths in it."""
    found = {
        name.removeprefix("model/"): array
        for name, array in arrays.items()
        if name.startswith("model/")
    }
    if not found:
        raise ArtifactError("The artefact has no weights of a network.")
    return found


def check_arguments(
    arguments: Mapping[str, Any],
    supported: Mapping[str, Collection[Any] | None],
    irrelevant: Collection[str],
) -> None:
    """Refuses by name what this runtime cannot run.

    Args:
        arguments: Resolved ones of a builder.
        supported: Arguments that matter, and the values that are known of them; None:
            any.
        irrelevant: Arguments that matter to training alone.

    Raises:
        ArtifactError: Naming the argument and its value.
    """
    for name, value in arguments.items():
        if name in irrelevant:
            continue
        if name not in supported:
            raise ArtifactError(
                f"The NumPy runtime of this version does not know the argument "
                f"`{name}` of the network: upgrade keras_seq. Received: "
                f"{name}={value!r}"
            )
        known = supported[name]
        if known is not None and not any(value is k or value == k for k in known):
            raise ArtifactError(
                f"The NumPy runtime runs networks with `{name}` one of "
                f"{', '.join(map(repr, known))}. Received: {name}={value!r}"
            )


def compute_dtype(precision: str | None) -> Any:
    """float64 for that precision, else float32: half ones save nothing in NumPy."""
    return np.float64 if precision == "float64" else np.float32


def units_of_layers(units: Any, num_layers: int) -> list[int]:
    """One entry per layer."""
    if isinstance(units, list | tuple):
        return [int(entry) for entry in units]
    return [int(units)] * num_layers
