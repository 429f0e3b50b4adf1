"""attention_weights: how much each step counted, where a network has attention."""

from typing import Any

import keras
import numpy as np
import pandas as pd
from keras import ops

from keras_seq.diagnostics.explain_offsets import locate_tokens
from keras_seq.diagnostics.explain_path import standing_in
from keras_seq.forecasting import fitting
from keras_seq.forecasting.windows import WindowSource
from keras_seq.layers.attention import SelfAttentionEncoder
from keras_seq.layers.padding import valid_steps, zero_padding
from keras_seq.layers.pooling import SequencePooling
from keras_seq.text.batches import pad_rows
from keras_seq.text.preprocessing import head_length
from keras_seq.training.autodiff import as_numpy
from keras_seq.training.ensemble import members_of

Tensor = Any


def attention_weights(estimator: Any, data: Any) -> pd.DataFrame:
    """Tells what `pooling="attention"` and `cell="transformer"` attended to.

    Weights say where a network looked, not what that did to its answer: for this there
    are `explain_text` and `explain_forecast` (Jain & Wallace 2019, Attention is not
    Explanation).

    Args:
        estimator: A fitted `TextClassifier` or `Forecaster` with attention; of an
            ensemble the first network.
        data: Texts; or a long frame whose ends are forecast from (with future
            covariates, `(history, future)`).

    Returns:
        One row per weight: `row`, the number of the text or the id of the series;
        `layer`; `head`, from 0; `query`, the step that attends (missing where pooling
        does), and `key`, the step it attends to: tokens of a text as they are read, or
        steps of the window (segments, where it reads segments), from 0; of texts also
        `token`, `start` and `end` of the key, of series the time column, the (first)
        stamp of the key; `weight`. Those of a query add up to one.

    Raises:
        TypeError, ValueError: If there is no attention, or an argument breaks a rule.
    """
    if hasattr(estimator, "preprocessor_"):
        estimator._check_fitted()
        inputs, places = _of_texts(estimator, data)
    elif hasattr(estimator, "lookback_"):
        estimator._check_fitted()
        inputs, places = _of_series(estimator, data)
    else:
        raise TypeError(
            "`estimator` must be a TextClassifier or Forecaster after `fit`. "
            f"Received: {type(estimator).__name__}"
        )
    model = members_of(estimator.model_)[0]
    found = _look(model, inputs)
    names = [column for column in places if column not in ("row", "key")]
    frames = [
        _tabulate(layer, row, weights[number], places)
        for layer, weights in found.items()
        for number, row in enumerate(places["row"].unique())
    ]
    order = ["row", "layer", "head", "query", "key", *names, "weight"]
    return pd.concat(frames, ignore_index=True)[order]


def _look(model: keras.Model, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Weights by layer: `(rows, heads, queries, keys)`; pooling has one query."""
    seen: dict[str, Any] = {}
    stand_ins = {}
    for layer in model.layers:
        if isinstance(layer, SequencePooling) and layer.pooling == "attention":
            stand_ins[layer] = _watched_pooling(layer, seen)
        if isinstance(layer, SelfAttentionEncoder):
            for block in layer.blocks:
                name = f"encoder/{block.name}"
                stand_ins[block.attention] = _watched_heads(block.attention, name, seen)
    if not stand_ins:
        raise ValueError(
            '`estimator` must have attention: pooling="attention" or '
            f'cell="transformer". Received: layers {[x.name for x in model.layers]}'
        )
    with standing_in(stand_ins), keras.StatelessScope():
        model(inputs, training=False)
    return as_numpy(seen)


def _watched_pooling(layer: SequencePooling, seen: dict[str, Any]) -> Any:
    call = layer.call

    def watched(inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        if lengths is None:
            lengths = ops.full(inputs.shape[:1], inputs.shape[1], "int32")
        valid = valid_steps(inputs, lengths)
        scores = layer._scores(zero_padding(inputs, lengths), valid)
        weights = ops.where(valid, ops.softmax(scores, axis=1), 0.0)
        seen[layer.name] = ops.transpose(weights, (0, 2, 1))[:, None]
        return call(inputs, lengths)

    return watched


def _watched_heads(layer: Any, name: str, seen: dict[str, Any]) -> Any:
    call = layer.call

    def watched(*args: Any, **kwargs: Any) -> Tensor:
        output, seen[name] = call(*args, **{**kwargs, "return_attention_scores": True})
        return output

    return watched


def _of_texts(estimator: Any, texts: Any) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
    """Inputs, and which token of which text each step that is read is."""
    if estimator.stateful:
        raise ValueError(
            "`estimator` must have stateful=False: its texts are read in chunks. "
            "Received: stateful=True"
        )
    if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
        raise TypeError(
            "`data` must be a list of strings for a TextClassifier. "
            f"Received: {type(texts).__name__}"
        )
    texts = list(texts)
    if not texts:
        raise ValueError("`data` must hold at least one text. Received: none")
    preprocessor = estimator.preprocessor_
    rows = preprocessor.transform(texts)
    longest = max(int(rows.lengths.max()), 1)
    inputs = pad_rows(rows, np.arange(len(texts)), longest, len(texts))
    frames = []
    for number, text in enumerate(texts):
        tokens, starts, ends = locate_tokens(preprocessor._splitter, text)
        kept = np.arange(len(tokens))
        for limit in (preprocessor.row_length_, preprocessor.max_length_):
            if limit is not None and len(kept) > limit:
                head = head_length(preprocessor.truncation, limit)
                kept = np.append(kept[:head], kept[len(kept) - (limit - head) :])
        frames.append(
            pd.DataFrame(
                {
                    "row": number,
                    "key": np.arange(len(kept)),
                    "token": pd.Series([tokens[i] for i in kept], dtype=object),
                    "start": starts[kept],
                    "end": ends[kept],
                }
            )
        )
    return inputs, pd.concat(frames, ignore_index=True)


def _of_series(estimator: Any, data: Any) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
    """Inputs, and the stamp of each step of each series' window."""
    history, future = data if isinstance(data, tuple) else (data, None)
    panel = estimator._panel(history, fitted=True)
    panel = estimator._look_ahead(panel, future)
    member = members_of(estimator.model_)[0]
    source = WindowSource(panel, estimator._spec)
    series = np.arange(len(panel.ids))
    inputs = fitting.model_inputs(source.gather(series, panel.lengths))
    lookback = member.input["target"].shape[1]
    stamps = panel.grid.stamps(-lookback, lookback + panel.end)
    segment = _segment(estimator)
    count = -(-lookback // segment)
    # The first segment is filled up before the window.
    places = np.maximum(segment * np.arange(count) - (count * segment - lookback), 0)
    ends = (panel.first + panel.lengths)[:, None]
    frame = pd.DataFrame(
        {
            "row": np.repeat(panel.ids, count),
            "key": np.tile(np.arange(count), len(panel.ids)),
            estimator.time_col: stamps[(ends + places).reshape(-1)],
        }
    )
    return inputs, frame


def _segment(estimator: Any) -> int:
    arguments = estimator._member_args()[0]
    return arguments["segment_length"] if arguments["decoder"] == "segment" else 1


def _tabulate(
    layer: str, row: Any, weights: np.ndarray, places: pd.DataFrame
) -> pd.DataFrame:
    """Weights of one row, `(heads, queries, keys)`, without its padding."""
    own = places[places["row"] == row].reset_index(drop=True)
    heads, queries = weights.shape[:2]
    count = len(own)
    pooled = queries == 1 and "/" not in layer
    queries = 1 if pooled else count
    shown = weights[:, :queries, :count]
    told = pd.concat([own] * (heads * queries), ignore_index=True)
    query = np.tile(np.repeat(np.arange(queries), count), heads)
    return told.assign(
        layer=layer,
        head=np.repeat(np.arange(heads), queries * count),
        query=pd.array([pd.NA] * len(told) if pooled else query, dtype="Int64"),
        weight=shown.reshape(-1).astype(np.float64),
    )
