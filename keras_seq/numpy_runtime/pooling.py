"""Pooling: one vector per row, over all of its steps or chunk by chunk."""

from typing import Any

import numpy as np

from keras_seq.numpy_runtime.layers import LOWEST, Dense, valid_steps
from keras_seq.numpy_runtime.weights import WeightTable

Array = np.ndarray[Any, np.dtype[Any]]


class Pooling:
    """Pools right-padded rows over their valid steps, and goes on with the next chunk.

    Its state is one array per name of `names`, zeros at first: what it keeps is what
    `keras_seq.layers.state.RunningPooling` keeps.

    Args:
        weights: Of the layer `pooling`.
        pooling: As of the builder.
        width: Features of a step.
        bidirectional: Whether the second half of the features ran backward, so that
            its last step is the first one. Such rows come whole.
    """

    def __init__(
        self, weights: WeightTable, pooling: str, width: int, bidirectional: bool
    ):
        self.modes = ("mean", "max", "last") if pooling == "concat" else (pooling,)
        self.width = width
        self.bidirectional = bidirectional
        self.names = ["count"]
        if pooling == "attention":
            self.hidden = Dense(weights.inside("hidden"))
            self.query = Dense(weights.inside("query"))
            self.names += ["peak", "weight"]
        self.names += self.modes

    def initial(self, count: int, dtype: Any) -> list[Array]:
        """The state before the first step: arrays `(count, 1)` or `(count, width)`."""
        return [
            np.zeros((count, self.width if name in self.modes else 1), dtype)
            for name in self.names
        ]

    def __call__(
        self, x: Array, lengths: Array, state: list[Array]
    ) -> tuple[Array, list[Array]]:
        """What all steps so far pool to, and the state after them.

        Args:
            x: `(batch, time, width)`, zero at padding.
            lengths: Valid steps of each row; a row of 0 stays as it is.
            state: As of `initial`, or of the call before.

        Returns:
            `(batch, width)`, three times the width for `"concat"`.
        """
        states = dict(zip(self.names, state, strict=True))
        added = np.asarray(lengths)[:, None]  # (batch, 1)
        pooled = [
            getattr(self, f"_{mode}")(states, x, lengths, added) for mode in self.modes
        ]
        states["count"] = states["count"] + added.astype(x.dtype)
        return np.concatenate(pooled, axis=-1), [states[n] for n in self.names]

    def _mean(self, states: dict, x: Array, lengths: Array, added: Array) -> Array:
        states["mean"] = states["mean"] + x.sum(axis=1)  # the sum is kept
        count = np.maximum(states["count"] + added.astype(x.dtype), 1)
        return np.asarray(states["mean"] / count)

    def _max(self, states: dict, x: Array, lengths: Array, added: Array) -> Array:
        shown = np.where(valid_steps(lengths, x.shape[1]), x, LOWEST)
        here = shown.max(axis=1, initial=LOWEST)
        both = np.where(states["count"] > 0, np.maximum(here, states["max"]), here)
        states["max"] = np.where(added > 0, both, states["max"])
        return np.asarray(states["max"])

    def _last(self, states: dict, x: Array, lengths: Array, added: Array) -> Array:
        if not x.shape[1]:
            return np.asarray(states["last"])
        last = x[np.arange(len(x)), np.maximum(lengths - 1, 0)]
        if self.bidirectional:  # the backward direction ends at step 0
            half = self.width // 2
            last = np.concatenate([last[:, :half], x[:, 0, half:]], axis=-1)
        states["last"] = np.where(added > 0, last, states["last"])
        return np.asarray(states["last"])

    def _attention(self, states: dict, x: Array, lengths: Array, added: Array) -> Array:
        """The softmax goes on over chunks (Milakov & Gimelshein 2018)."""
        valid = valid_steps(lengths, x.shape[1])
        scores = self.query(np.tanh(self.hidden(x)))  # (batch, time, 1)
        scores = np.where(valid, scores, LOWEST)
        before = np.where(states["weight"] > 0, states["peak"], LOWEST)
        peak = np.maximum(before, scores.max(axis=1, initial=LOWEST))  # (batch, 1)
        shrink = np.exp(before - peak)
        weights = np.where(valid, np.exp(scores - peak[:, None]), 0)
        states["peak"] = peak
        states["weight"] = states["weight"] * shrink + weights.sum(axis=1)
        total = states["attention"] * shrink + (weights * x).sum(axis=1)
        states["attention"] = total
        return np.asarray(total / np.where(states["weight"] > 0, states["weight"], 1))
