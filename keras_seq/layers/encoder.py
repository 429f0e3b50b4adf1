"""make_encoder: one word, `cell`, chooses between recurrences and self-attention."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_seq.errors import check_choice, check_integer
from keras_seq.layers.attention import SelfAttentionEncoder
from keras_seq.layers.convolution import ConvolutionFront
from keras_seq.layers.recurrent import CELLS, RecurrentEncoder
from keras_seq.layers.state import StatefulEncoder

Tensor = Any

ENCODERS = (*CELLS, "transformer")
AUXILIARIES = (None, "next_step")


def check_structure(
    *,
    cell: str,
    bidirectional: bool,
    auxiliary: str | None,
    stateful: bool,
    batch_size: int | None,
    conv_filters: int | None,
    conv_width: int,
) -> None:
    """Raises for structures that contradict themselves."""
    check_choice("cell", cell, ENCODERS)
    check_choice("auxiliary", auxiliary, AUXILIARIES)
    check_choice("stateful", stateful, (True, False))
    check_integer("conv_width", conv_width, 1)
    if conv_filters is not None:
        check_integer("conv_filters", conv_filters, 1)
    if auxiliary and bidirectional and cell == "transformer":
        raise ValueError(
            "`auxiliary='next_step'` needs bidirectional=False with a transformer, "
            "which would else see the step it is to predict. "
            f"Received: {auxiliary=}, {cell=}"
        )
    if not stateful:
        if batch_size is not None:
            raise ValueError(
                "`batch_size` belongs to stateful=True; stateless models take any. "
                f"Received: {batch_size=}"
            )
        return
    check_integer("batch_size", batch_size, 1)
    if bidirectional:
        raise ValueError(
            "`stateful` needs bidirectional 'auto' or False, since the backward "
            f"direction needs the future. Received: {bidirectional=}"
        )
    if cell == "transformer":
        raise ValueError(
            "`stateful` needs a recurrent `cell`: self-attention carries no state. "
            f"Received: {cell=}"
        )
    if conv_filters is not None:
        raise ValueError(
            "`conv_filters` cannot be combined with `stateful`: the convolution would "
            f"not see the chunk before. Received: {conv_filters=}"
        )


def make_encoder(
    *,
    cell: str,
    units: int | Sequence[int],
    num_layers: int,
    bidirectional: bool,
    residual: bool,
    normalization: str | None,
    dropout: float,
    recurrent_dropout: float,
    activation: str,
    forget_bias: float,
    memory_steps: int | None,
    num_heads: int | str,
    batch_size: int | None,
    name: str = "encoder",
) -> keras.layers.Layer:
    """Makes the recurrent or attending layer; the arguments are the builders'.

    Returns:
        A layer called with `(batch, time, features)` and lengths; it returns the
        encoded sequence and the deepest one that has seen no later step.
    """
    if cell != "transformer":
        options: dict[str, Any] = {
            "cell": cell,
            "num_layers": num_layers,
            "residual": residual,
            "normalization": normalization,
            "dropout": dropout,
            "recurrent_dropout": recurrent_dropout,
            "activation": activation,
            "forget_bias": forget_bias,
            "memory_steps": memory_steps,
            "return_causal": True,
            "name": name,
        }
        if batch_size is not None:
            return StatefulEncoder(units, batch_size=batch_size, **options)
        return RecurrentEncoder(units, bidirectional=bidirectional, **options)
    unfit = {
        "recurrent_dropout": (recurrent_dropout, 0.0),
        "normalization": (normalization, None),
        "activation": (activation, "tanh"),
        "forget_bias": (forget_bias, 1.0),
        "memory_steps": (memory_steps, None),
        "residual": (residual, False),
    }
    for name, (value, usual) in unfit.items():
        if value != usual:
            raise ValueError(
                f"`{name}` belongs to recurrent cells; a transformer has its own: "
                f"leave it at {usual!r}. Received: {name}={value!r}"
            )
    return SelfAttentionEncoder(
        units,
        num_layers=num_layers,
        num_heads=num_heads,
        dropout=dropout,
        causal=not bidirectional,
        name=name,
    )


def encode(
    steps: Tensor,
    lengths: Tensor | None,
    encoder: keras.layers.Layer,
    *resets: Tensor,
    conv_filters: int | None,
    conv_width: int,
    causal_front: bool,
) -> tuple[Tensor, Tensor]:
    """Applies the convolutional front, if any, and the encoder.

    A stateful encoder may be given the rows that start anew.

    Returns:
        The encoded sequence, and the deepest one that has seen no later step (of a
        transformer that is not causal there is none: the encoded one stands there).
    """
    if conv_filters is not None:
        front = ConvolutionFront(
            conv_filters, conv_width, causal=causal_front, name="front"
        )
        steps = front(steps, lengths)
    if isinstance(encoder, SelfAttentionEncoder):
        encoded = causal = encoder(steps, lengths)
    else:
        encoded, causal = encoder(steps, lengths, *resets)
    return encoded, causal
