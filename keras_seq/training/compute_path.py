"""compute_path: which way each recurrent layer of a network computes."""

from collections.abc import Iterator
from typing import Any

import keras
import pandas as pd

from keras_seq.layers.attention import SelfAttentionEncoder
from keras_seq.layers.paths import FUSED_CELLS, Path, choose_path, has_gpu
from keras_seq.layers.recurrent import RecurrentEncoder

COLUMNS = ("layer", "cell", "training", "inference", "xla", "why", "change")


def compute_path(model: Any) -> pd.DataFrame:
    """Tells which way each recurrent layer runs in `fit` and `predict`, and why.

    The ways are `"fused"` (a GPU kernel), `"packed"` (our loop without padding),
    `"hoisted"` (our loop with static shapes), `"plain"` (Keras's loop of small steps)
    and, for self-attention, `"attention"`. Of a Keras layer outside a
    `RecurrentEncoder` the way is Keras's choice: `"fused"` or `"plain"`.

    Args:
        model: A `keras.Model`, or a fitted `TextClassifier` or `Forecaster`.

    Returns:
        One row per recurrent layer and direction; none if the model has no such layer:
        `layer` (such as `"encoder/forward_0"`), `cell`, the ways in `training` and
        `inference`, `xla` (whether XLA compiles the model's steps), `why` they are
        used, and what would `change` them to a faster one on this device; empty where
        there is none.

    Raises:
        TypeError: If `model` is something else.

    Example:
        >>> from keras_seq import build_forecaster
        >>> compute_path(build_forecaster(lookback=24, horizon=12))["layer"].tolist()
        ['encoder/forward_0']
    """
    model = getattr(model, "model_", model)
    if not isinstance(model, keras.Model):
        raise TypeError(
            "`model` must be a keras.Model, or an estimator after `fit`. "
            f"Received: model={model!r}"
        )
    xla = bool(model.jit_compile and not model.run_eagerly)
    rows = []
    for name, layer, ours in _recurrent_layers(model):
        choose = choose_path if ours else _keras_path
        training = choose(layer, training=True, xla=xla)
        inference = choose(layer, training=False, xla=xla)
        # What slows training alone is the more urgent to know.
        told = training if training.change or not inference.change else inference
        cell = _cell_name(layer)
        rows.append((name, cell, training.name, inference.name, xla, *told[1:]))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _recurrent_layers(
    parent: keras.layers.Layer, prefix: str = ""
) -> Iterator[tuple[str, keras.layers.Layer, bool]]:
    """Each layer with its path within the model, and whether `choose_path` rules it."""
    if isinstance(parent, RecurrentEncoder):
        for index in range(parent.num_layers):
            for layers in (parent.forward, parent.backward):
                if layers:
                    yield f"{prefix}{layers[index].name}", layers[index], True
        return
    # No public name lists the sublayers of a layer that is not a model.
    for layer in parent._flatten_layers(include_self=False, recursive=False):
        if isinstance(layer, (keras.layers.RNN, SelfAttentionEncoder)):
            yield f"{prefix}{layer.name}", layer, False
        else:
            yield from _recurrent_layers(layer, f"{prefix}{layer.name}/")


def _cell_name(layer: keras.layers.Layer) -> str:
    kind = type(layer.cell if type(layer) is keras.layers.RNN else layer).__name__
    known = {"SimpleRNN": "rnn", "SelfAttentionEncoder": "attention"}
    return known.get(kind, kind.lower())


def _keras_path(layer: keras.layers.Layer, *, training: bool, xla: bool) -> Path:
    """The way of a layer that is none of ours, as far as its arguments tell."""
    if isinstance(layer, SelfAttentionEncoder):
        return Path("attention", "self-attention has no recurrence")
    encoder = "use keras_seq.layers.RecurrentEncoder"
    backend = keras.backend.backend()
    if not has_gpu() or (xla and backend == "tensorflow"):
        where = "under XLA" if has_gpu() else "without a GPU"
        return Path("plain", f"Keras's own layer {where}", encoder)
    if not isinstance(layer, FUSED_CELLS.get(backend, ())):
        return Path("plain", "Keras has no GPU kernel for this layer", encoder)
    needed = {
        "activation": keras.activations.tanh,
        "recurrent_activation": keras.activations.sigmoid,
        "recurrent_dropout": 0.0,
        "unroll": False,
        "use_bias": True,
        "reset_after": True,
    }
    for name, value in needed.items():
        if getattr(layer, name, value) != value:
            shown = getattr(value, "__name__", value)
            return Path(
                "plain", "its arguments exclude the GPU kernel", f"{name}={shown}"
            )
    if layer.use_cudnn is False:
        return Path("plain", "use_cudnn=False", "use_cudnn='auto'")
    return Path("fused", "GPU kernel, if Keras finds the mask, if any, fit for it")
