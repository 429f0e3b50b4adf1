"""What the networks of the builders are made of: sizes, operations, activations."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from keras_seq.errors import check_integer
from keras_seq.forecasting.builder import build_forecaster
from keras_seq.forecasting.parts import embedding_width
from keras_seq.layers.cells import CELL_MATHS
from keras_seq.layers.pooling import POOLINGS
from keras_seq.layers.recurrent import check_units
from keras_seq.layers.segments import choose_segment, count_segments
from keras_seq.text.builder import build_text_classifier

# Operations of a step on each unit beside the products: gates and states.
ELEMENTWISE = {1: 3, 3: 14, 4: 16}


class Part(NamedTuple):
    """A layer, or one direction of one.

    Attributes:
        name: As in the network.
        parameters: Weights, trained or not.
        flops: Floating-point operations forward, for one row; a product of matrices
            has two for each multiplication.
        kept: Numbers kept for the backward pass, for one row.
        output: Numbers it hands on, for one row.
        cell: Of a recurrence; else None.
        steps: Of a recurrence; else 0.
    """

    name: str
    parameters: int
    flops: float
    kept: float
    output: float
    cell: str | None = None
    steps: int = 0


def list_parts(
    builder: Callable[..., Any], arguments: dict[str, Any], length: int | None
) -> list[Part]:
    """The parts of the network that a builder makes of its arguments.

    Args:
        builder: `build_text_classifier` or `build_forecaster`.
        arguments: Of the builder; those left out have its defaults.
        length: Steps of a text; None for a forecaster, whose rows are `lookback` long.

    Raises:
        ValueError: If the builder is another, or a structure is not covered.
    """
    known: dict[Any, Callable[..., list[Part]]] = {
        build_text_classifier: _text_parts,
        build_forecaster: _forecast_parts,
    }
    if builder not in known:
        raise ValueError(
            "`builder` must be build_text_classifier or build_forecaster. "
            f"Received: {builder!r}"
        )
    bound = inspect.signature(builder).bind(**arguments)
    bound.apply_defaults()
    given = bound.arguments
    if given["stateful"]:
        raise ValueError(
            "`stateful` must be False: a stateful network costs what its stateless "
            "twin does, and the states of `batch_size` rows. Received: stateful=True"
        )
    return known[builder](given, length)


def _dense(name: str, inputs: int, units: int, steps: float = 1) -> Part:
    flops = 2.0 * inputs * units * steps
    size = float(units * steps)
    return Part(name, inputs * units + units, flops, inputs * steps, size)


def _front(given: dict[str, Any], features: int, steps: int) -> list[Part]:
    filters, width = given["conv_filters"], given["conv_width"]
    if filters is None:
        return []
    part = _dense("front", features * width, filters, steps)
    return [part._replace(kept=float(steps * (features + filters)))]


def _encoder(
    given: dict[str, Any], features: int, steps: int, both_ways: bool
) -> tuple[list[Part], int]:
    """Parts of the encoder, and the width of what it gives."""
    units = check_units(given["units"], given["num_layers"])
    if given["cell"] == "transformer":
        return _transformer(units, features, steps), units[-1]
    parts = []
    for index, size in enumerate(units):
        for direction in ("forward", "backward")[: 1 + both_ways]:
            name = f"encoder/{direction}_{index}"
            parts.append(recurrence_part(name, given["cell"], features, size, steps))
        features = size * (1 + both_ways)
        if given["normalization"]:
            count = 4 if given["normalization"] == "batch" else 2
            numbers = float(steps * features)
            name = f"encoder/normalization_{index}"
            parts.append(Part(name, count * features, 8 * numbers, numbers, numbers))
    return parts, features


def recurrence_part(
    name: str, cell: str, features: int, units: int, steps: int
) -> Part:
    """One direction of a recurrent layer."""
    maths = CELL_MATHS[cell]
    gates = maths.num_gates
    weights = gates * units * (features + units + (2 if cell == "gru" else 1))
    products = 2.0 * gates * units * (features + units)
    kept = maths.num_states + maths.num_kept + 1
    return Part(
        name,
        parameters=weights,
        flops=steps * (products + ELEMENTWISE[gates] * units),
        kept=float(steps * (features + kept * units)),
        output=float(steps * units),
        cell=cell,
        steps=steps,
    )


def _transformer(units: tuple[int, ...], features: int, steps: int) -> list[Part]:
    size, parts = units[0], []
    if features != size:
        parts.append(_dense("encoder/projection", features, size, steps))
    for index in range(len(units)):
        weights = 12 * size * size + 13 * size
        flops = steps * (24.0 * size * size + 4.0 * steps * size)
        kept = float(steps * (16 * size + 2 * steps))
        name = f"encoder/block_{index}"
        parts.append(Part(name, weights, flops, kept, float(steps * size)))
    parts.append(
        Part("encoder/final_norm", 2 * size, 8.0 * steps * size, steps * size, 0.0)
    )
    return parts


def _text_parts(given: dict[str, Any], length: int | None) -> list[Part]:
    whole = check_integer("length", length, 1)
    steps = min(whole, given["max_length"] or whole)  # that the recurrence reads
    width, classes = given["embedding_dim"], given["num_classes"]
    vocabulary = given["max_tokens"]
    both_ways = given["bidirectional"] in (True, "auto")
    numbers = float(steps * width)
    parts = [Part("embedding", vocabulary * width, numbers, numbers, numbers)]
    front = _front(given, width, steps)
    features = given["conv_filters"] or width
    encoder, features = _encoder(given, features, steps, both_ways)
    parts += [*front, *encoder]
    if given["auxiliary"]:
        units = check_units(given["units"], given["num_layers"])
        causal = units[0] if both_ways else units[-1]
        parts.append(_dense("next_step", causal, width, steps))
    pooled = features * (3 if given["pooling"] == "concat" else 1)
    weights = (
        features * features + 2 * features if given["pooling"] == "attention" else 0
    )
    flops = steps * (2.0 * weights + len(POOLINGS) * features)
    parts.append(Part("pooling", weights, flops, float(steps * features), pooled))
    if given["ngrams"]:
        dim, runs = given["ngram_dim"], given["ngrams"]
        tables = dim * (vocabulary + (runs - 1) * given["ngram_buckets"])
        numbers = float(runs * whole * dim)
        parts.append(Part("ngrams", tables, 2 * numbers, numbers, dim))
        parts.append(_dense("ngram_head", dim, classes))
        parts.append(Part("probabilities", 2, 4.0 * classes, 2 * classes, classes))
    return [*parts, _dense("head", pooled, classes)]


def _forecast_parts(given: dict[str, Any], length: int | None) -> list[Part]:
    if length is not None:
        raise ValueError(
            "`length` belongs to texts: a forecaster's rows have `lookback` steps. "
            f"Received: length={length!r}"
        )
    steps, horizon = given["lookback"], given["horizon"]
    future = given["num_future"]
    levels = len({*given["quantiles"], 0.5})
    parts = [Part("scaler", 1, 10.0 * steps, 2.0 * steps, 3.0 * steps)]
    sizes = given["static_cardinalities"]
    widths = [embedding_width(size) for size in sizes]
    for index, (size, wide) in enumerate(zip(sizes, widths, strict=True)):
        parts.append(Part(f"static_{index}", size * wide, wide, wide, wide))
    static = given["num_static"] + sum(widths)
    features = 3 + future + given["num_past"]
    names = ("decoder", "segment_length", "lookback", "season_length", "stateful")
    segment = choose_segment(**{name: given[name] for name in names})
    if segment is None:
        features += static
        parts += _front(given, features, steps)
        encoder, width = _encoder(
            given, given["conv_filters"] or features, steps, False
        )
    else:
        parts += _front(given, features, steps)
        count = count_segments(steps, segment)
        first = check_units(given["units"], given["num_layers"])[0]
        features = segment * (given["conv_filters"] or features) + static
        parts.append(_dense("segments", features, first, count))
        encoder, width = _encoder(given, first, count, False)
    parts += encoder
    if given["auxiliary"]:
        count = count_segments(steps, segment or 1)
        parts.append(_dense("next_step", width, segment or 1, count))
    context, features = width + 2 + static, given["decoder_units"]
    if segment is None:
        parts.append(_dense("decoder", context, horizon * features))
    else:
        parts += _segment_decoder(segment, horizon, context, width, future, features)
    if future:
        dense = _dense("future_decoder", future, features, horizon)
        parts.append(dense._replace(parameters=future * features))
        dense = _dense("future_linear", future, 1, horizon)
        parts.append(dense._replace(parameters=future))
    parts.append(_dense("linear", steps, horizon))
    quantiles = _dense("quantiles", features, levels, horizon)
    parts.append(quantiles._replace(parameters=quantiles.parameters + 2))
    if given["point"] == "mean":
        parts.append(_dense("mean_head", features, 1, horizon))
    return parts


def _segment_decoder(
    segment: int,
    horizon: int,
    context: int,
    units: int,
    future: int,
    features: int,
) -> list[Part]:
    steps = min(segment, horizon)
    count = count_segments(horizon, steps)
    numbers = float(count * units)
    parts = [
        _dense("decoder/state", context, units),
        Part("decoder/positions", count * units, 2 * numbers, numbers, numbers),
        _dense("decoder/steps", units, steps * features, count),
    ]
    if future:
        known = _dense("decoder/known", steps * future, units, count)
        parts.append(known._replace(parameters=steps * future * units))
    return parts
