"""TextNetwork: the network of `build_text_classifier` in NumPy."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_seq.hashing import hash_runs
from keras_seq.numpy_runtime.cells import ACTIVATIONS, CELLS
from keras_seq.numpy_runtime.layers import (
    Convolution,
    Dense,
    make_encoder,
    sigmoid,
    softmax,
    valid_steps,
)
from keras_seq.numpy_runtime.pooling import Pooling
from keras_seq.numpy_runtime.weights import (
    WeightTable,
    check_arguments,
    compute_dtype,
)

Array = np.ndarray[Any, np.dtype[Any]]

# What the builder takes where an argument is left out, and what is known of each.
DEFAULTS: dict[str, Any] = {
    "cell": "lstm",
    "units": 64,
    "num_layers": 1,
    "bidirectional": "auto",
    "pooling": "max",
    "normalization": None,
    "residual": False,
    "activation": "tanh",
    "conv_filters": None,
    "conv_width": 3,
    "ngrams": 0,
    "ngram_buckets": 2**18,
    "max_length": None,
    "truncation": "head",
    "multi_label": False,
    "auxiliary": None,
    "stateful": False,
    "precision": None,
}
_SUPPORTED = {
    **dict.fromkeys(DEFAULTS),
    "cell": (*CELLS, "transformer"),
    "pooling": ("last", "mean", "max", "concat", "attention"),
    "normalization": (None, "layer", "batch"),
    "activation": tuple(ACTIVATIONS),
    "truncation": ("head", "tail", "head_tail"),
    "ensemble": None,
}
# What training alone knows of, or the shapes of the weights tell.
IRRELEVANT = frozenset(
    {
        *("num_classes", "max_tokens", "embedding_dim", "ngram_dim", "num_heads"),
        *("dropout", "embedding_dropout", "word_dropout", "recurrent_dropout"),
        *("ngram_dropout", "forget_bias", "memory_steps"),
        *("label_smoothing", "adversarial"),
        *("auxiliary_weight", "batch_size", "reset_input", "learning_rate"),
        *("global_clipnorm", "clipnorm", "clipvalue", "ema", "jit", "seed"),
    }
)


class TextNetwork:
    """From token ids to class probabilities, as the Keras network has it.

    Args:
        arguments: Resolved ones of `build_text_classifier`; `ensemble`, how many
            members there are, if there are several.
        weights: Arrays by their path, as in an artefact without `model/`.

    Raises:
        ArtifactError: If an argument is one that NumPy does not run, or a weight is
            missing.
    """

    def __init__(self, arguments: Mapping[str, Any], weights: Mapping[str, Array]):
        check_arguments(arguments, _SUPPORTED, IRRELEVANT)
        own = {**DEFAULTS, **arguments}
        dtype = compute_dtype(own["precision"])
        count = own.get("ensemble", 1)
        tables = [WeightTable(weights, dtype)]
        if count > 1:
            tables = [tables[0].inside(f"member_{i}") for i in range(1, count + 1)]
        self.members = [_Member(own, table) for table in tables]
        self.stateful = bool(own["stateful"])

    def __call__(self, inputs: Mapping[str, Array]) -> Array:
        """Class probabilities of whole texts.

        Args:
            inputs: `tokens`, int, `(batch, time)`, right-padded with anything;
                `length`, int, `(batch,)`, 0 to time.

        Returns:
            float32, `(batch, num_classes)`.
        """
        return self.advance(inputs, self.initial(len(inputs["tokens"])))[0]

    def initial(self, count: int) -> list[Array]:
        """The state of `count` texts of which nothing was read yet."""
        return [part for member in self.members for part in member.initial(count)]

    def advance(
        self, inputs: Mapping[str, Array], state: list[Array]
    ) -> tuple[Array, list[Array]]:
        """Reads the next chunk of each text; of use where the network is `stateful`.

        Args:
            inputs: As of a call; chunks of any length, a row of 0 waits.
            state: Of `initial`, or of the call before; it stays as it is.

        Returns:
            Probabilities after all that was read, and the new state.
        """
        tokens, lengths = np.asarray(inputs["tokens"]), np.asarray(inputs["length"])
        answers: list[Array] = []
        states: list[Array] = []
        for member in self.members:
            first, last = len(states), len(states) + member.state_size
            answer, after = member.advance(tokens, lengths, state[first:last])
            answers.append(answer)
            states += after
        if len(answers) == 1:
            return answers[0], states
        return np.asarray(np.mean(answers, axis=0, dtype=np.float32)), states


class _Member:
    """One network."""

    def __init__(self, arguments: dict[str, Any], weights: WeightTable):
        self.dtype = weights.dtype
        stateful = arguments["stateful"]
        both_ways = arguments["bidirectional"]
        both_ways = not stateful if both_ways == "auto" else bool(both_ways)
        self.longest = arguments["max_length"]
        self.truncation = arguments["truncation"]
        self.embeddings = weights["embedding/embeddings"]
        self.front = None
        if arguments["conv_filters"] is not None:
            causal = bool(arguments["auxiliary"]) or not both_ways
            self.front = Convolution(
                weights.inside("front"), arguments["conv_width"], causal
            )
        self.encoder = make_encoder(weights, arguments, both_ways)
        # A transformer's steps do not end anywhere: its last one is the last.
        ends = both_ways and arguments["cell"] != "transformer"
        self.pooling = Pooling(
            weights.inside("pooling"), arguments["pooling"], self.encoder.width, ends
        )
        self.activate = sigmoid if arguments["multi_label"] else softmax
        self.bag = None
        if arguments["ngrams"]:
            self.bag = _Bag(
                weights.inside("ngrams"),
                arguments["ngrams"],
                arguments["ngram_buckets"],
            )
            self.head = Dense(weights.inside("recurrent_head"))
            self.bag_head = Dense(weights.inside("ngram_head"))
            self.shares = weights["probabilities/shares"]
        else:
            self.head = Dense(weights.inside("probabilities"))
        self.encoder_size = len(self.encoder.initial(0, self.dtype))
        self.state_size = self.encoder_size + len(self.pooling.names)

    def initial(self, count: int) -> list[Array]:
        """Zeros: of the encoder, then of the pooling."""
        encoder = self.encoder.initial(count, self.dtype)
        return [*encoder, *self.pooling.initial(count, self.dtype)]

    def advance(
        self, tokens: Array, lengths: Array, state: list[Array]
    ) -> tuple[Array, list[Array]]:
        """Probabilities after a chunk, and the state after it."""
        read, ends = tokens, lengths
        if self.longest is not None:
            read, ends = _truncate(tokens, lengths, self.longest, self.truncation)
        valid = valid_steps(ends, read.shape[1])
        # Padding may hold anything, ids beyond the table as well.
        x = self.embeddings[np.where(valid[..., 0], read, 0)]
        if self.front is not None:
            x = self.front(x, ends)
        encoded, new = self.encoder(x, ends, state[: self.encoder_size])
        pooled, running = self.pooling(encoded, ends, state[self.encoder_size :])
        answer = self.activate(self.head(pooled))
        if self.bag is not None:
            other = self.activate(self.bag_head(self.bag(tokens, lengths)))
            answer = self.shares[0] * answer + self.shares[1] * other
        return answer.astype(np.float32), [*new, *running]


class _Bag:
    """Vectors of a row's tokens and runs, over the root of how many there are."""

    def __init__(self, weights: WeightTable, ngrams: int, buckets: int):
        self.vectors = [weights[f"vectors_{run}"] for run in range(1, ngrams + 1)]
        self.buckets = buckets

    def __call__(self, tokens: Array, lengths: Array) -> Array:
        """`(batch, dim)`; zeros for a row of length 0."""
        rows = np.arange(len(tokens))
        total: Any = 0
        count: Any = 0
        for run, vectors in enumerate(self.vectors, start=1):
            ends = np.maximum(lengths - (run - 1), 0)  # (batch,)
            ids = tokens if run == 1 else hash_runs(tokens, run, self.buckets, np.roll)
            counted = valid_steps(ends, tokens.shape[1])[..., 0]
            found = vectors[ids[counted]]  # (valid steps, dim), row after row
            sums = np.zeros((len(rows), vectors.shape[1]), vectors.dtype)
            some = np.flatnonzero(ends)
            if len(some):
                starts = (np.cumsum(ends) - ends)[some]
                sums[some] = np.add.reduceat(found, starts, axis=0)
            total, count = total + sums, count + ends
        root = np.sqrt(np.maximum(count, 1)).astype(total.dtype)
        return np.asarray(total / root[:, None])


def _truncate(
    tokens: Array, lengths: Array, longest: int, truncation: str
) -> tuple[Array, Array]:
    """Leaves out the middle (or an end) of rows that are longer."""
    if tokens.shape[1] <= longest:
        return tokens, lengths
    head = {"head": longest, "tail": 0}.get(truncation, (longest + 1) // 2)
    steps = np.arange(longest)
    left_out = np.maximum(lengths - longest, 0)[:, None]  # (batch, 1)
    steps = steps + np.where(steps < head, 0, left_out)
    return np.take_along_axis(tokens, steps, axis=1), np.minimum(lengths, longest)
