"""estimate_cost: parameters, operations, memory and time of a network, before it is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keras_seq.diagnostics.machine import (
    BYTES_PER_UPDATE,
    TRAINING_FLOPS,
    Machine,
    calibrate,
)
from keras_seq.diagnostics.structure import Part, list_parts
from keras_seq.errors import check_integer, check_number

# Bytes of a number that the layers compute with.
WIDTHS = {"mixed_bfloat16": 2, "mixed_float16": 2, "float64": 8}
# Hidden sizes are tried in multiples of this, up to the largest.
MULTIPLE, MOST_UNITS = 8, 4096


@dataclass(frozen=True)
class Cost:
    """What a network of a builder costs on one batch.

    Attributes:
        parameters: Weights, trained or not, as `model.count_params()`.
        flops: Floating-point operations forward.
        training_flops: Forward and backward, three times as many; again three times
            that under `adversarial`.
        activation_bytes: Of the widest part in inference: what it reads and gives.
        training_bytes: Kept for the backward pass; weights, gradients and moments are
            16 bytes a parameter besides.
        intensity: Operations forward per byte of weights and activations, each moved
            once.
        seconds: Of `predict_on_batch` on this machine.
        training_seconds: Of `train_on_batch`.
        batch_size: Rows of the batch.
    """

    parameters: int
    flops: float
    training_flops: float
    activation_bytes: float
    training_bytes: float
    intensity: float
    seconds: float
    training_seconds: float
    batch_size: int

    def epoch_seconds(self, num_rows: int) -> float:
        """Of training on so many rows once, the last batch filled up."""
        check_integer("num_rows", num_rows, 1)
        return -(-num_rows // self.batch_size) * self.training_seconds


def estimate_cost(
    builder: Callable[..., Any],
    *,
    batch_size: int,
    length: int | None = None,
    mean_length: float | None = None,
    machine: Machine | None = None,
    **arguments: Any,
) -> Cost:
    """Tells what a network will cost, without building it.

    Parameters are exact. Operations count the products of matrices and, roughly, what
    is done elementwise. Time is a sum: of a call; of each recurrence, by its steps,
    operations and numbers, whose seconds were fitted to six small runs on this
    machine; and of the rest by the slower of products and memory (the roofline of
    Williams et al. 2009). Layers are taken to run one after another.

    Args:
        builder: `build_text_classifier` or `build_forecaster`.
        batch_size: Rows.
        length: Steps that texts are padded to; None for a forecaster.
        mean_length: Valid steps of a text on average, where padding is left out (see
            `runtime.compute_path`); None: all are valid.
        machine: Of `calibrate`; None measures for some seconds, once in a process.
        **arguments: Of the builder.

    Returns:
        Its cost. Times are those of a machine that has nothing else to do.

    Raises:
        ValueError: If an argument is out of its range, or `stateful` is True.

    Example:
        >>> from keras_seq import build_forecaster
        >>> cost = estimate_cost(
        ...     build_forecaster, batch_size=64, lookback=48, horizon=12
        ... )                                                         # doctest: +SKIP
        >>> cost.epoch_seconds(num_rows=10_000)                       # doctest: +SKIP
    """
    check_integer("batch_size", batch_size, 1)
    parts = list_parts(builder, arguments, length)
    machine = calibrate() if machine is None else machine
    steps = arguments["lookback"] if length is None else length
    share = 1.0
    if mean_length is not None:
        share = check_number("mean_length", mean_length, above=0) / steps
        if share > 1:
            raise ValueError(
                "`mean_length` must not exceed the steps that rows are padded to, "
                f"{steps}. Received: {mean_length=}"
            )
    width = WIDTHS.get(arguments.get("precision") or "", 4)
    parameters = sum(part.parameters for part in parts)
    flops = batch_size * sum(part.flops for part in parts)
    moved = batch_size * sum(part.output + part.kept for part in parts) * width
    seconds = {
        training: machine.call_seconds(builder, training)
        + sum(
            _seconds(part, machine, batch_size, share, width, training)
            for part in parts
        )
        for training in (False, True)
    }
    # Beside the texts themselves: once to see where the loss rises, and once there.
    passes = 3.0 if arguments.get("adversarial") else 1.0
    update = parameters * BYTES_PER_UPDATE / machine.bandwidth
    return Cost(
        parameters=parameters,
        flops=flops,
        training_flops=passes * TRAINING_FLOPS * flops,
        activation_bytes=batch_size * width * max(p.kept + p.output for p in parts),
        training_bytes=batch_size * width * sum(part.kept for part in parts),
        intensity=flops / (moved + 4 * parameters),
        seconds=seconds[False],
        training_seconds=passes * seconds[True] + update,
        batch_size=batch_size,
    )


def _seconds(
    part: Part,
    machine: Machine,
    batch_size: int,
    share: float,
    width: int,
    training: bool,
) -> float:
    """Of one part, forward, or forward and backward."""
    factor = TRAINING_FLOPS if training else 1.0
    flops = factor * batch_size * part.flops
    if part.cell is not None:
        return machine.recurrence_seconds(part, share * batch_size, training)
    moved = factor * batch_size * (part.kept + part.output) * width
    return max(flops / machine.flops, moved / machine.bandwidth)


def choose_units(
    builder: Callable[..., Any],
    *,
    batch_size: int,
    budget_ms: float | None = None,
    budget_mb: float | None = None,
    training: bool = False,
    length: int | None = None,
    machine: Machine | None = None,
    **arguments: Any,
) -> int:
    """The largest hidden size, a multiple of 8, that stays within the budgets.

    Args:
        builder: As in `estimate_cost`, and so are the others.
        batch_size: Rows.
        budget_ms: Milliseconds of a call; None: any.
        budget_mb: Megabytes (1e6 bytes) of weights and activations, in training also
            of gradients and moments; None: any.
        training: Whether the budgets are of a training step or of a prediction.
        length: Steps that texts are padded to.
        machine: Of `calibrate`.
        **arguments: Of the builder, but `units`.

    Raises:
        ValueError: If there is no budget, or not even 8 units are within.
    """
    if budget_ms is None and budget_mb is None:
        raise ValueError("`budget_ms` or `budget_mb` must be given. Received: neither")
    if "units" in arguments:
        raise ValueError(
            f"`units` is what is chosen. Received: units={arguments['units']!r}"
        )
    for name, value in (("budget_ms", budget_ms), ("budget_mb", budget_mb)):
        if value is not None:
            check_number(name, value, above=0)
    fixed: dict[str, Any] = {"batch_size": batch_size, "length": length}
    fixed["machine"] = calibrate() if machine is None else machine

    def spent(units: int) -> tuple[float, float]:
        cost = estimate_cost(builder, units=units, **fixed, **arguments)
        if training:
            memory = 16 * cost.parameters + cost.training_bytes
            return 1e3 * cost.training_seconds, 1e-6 * memory
        memory = 4 * cost.parameters + cost.activation_bytes
        return 1e3 * cost.seconds, 1e-6 * memory

    def fits(units: int) -> bool:
        pairs = zip(spent(units), (budget_ms, budget_mb), strict=True)
        return all(limit is None or value <= limit for value, limit in pairs)

    low, high = 0, MOST_UNITS // MULTIPLE
    while low < high:  # the largest that fits is in [low, high]
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle * MULTIPLE) else (low, middle - 1)
    if not low:
        milliseconds, megabytes = spent(MULTIPLE)
        raise ValueError(
            f"Not even {MULTIPLE} units stay within the budget: they take "
            f"{milliseconds:.3g} ms and {megabytes:.3g} MB. "
            f"Received: {budget_ms=}, {budget_mb=}"
        )
    return low * MULTIPLE
