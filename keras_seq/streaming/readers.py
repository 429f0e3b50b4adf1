"""What advances the states of documents by tokens, and classifies from them."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from keras_seq.streaming.engines import pad_batch
from keras_seq.streaming.pieces import pad_ids
from keras_seq.streaming.rows import BYTES, Array, State

# Documents that go through a network at a time, and tokens of each.
_ROWS, _STEPS = 256, 512

Network = Callable[[dict[str, Array]], Array]
# Inputs and states `(batch, width)` to probabilities and the states after them.
Advance = Callable[[dict[str, Array], list[Array]], tuple[Array, list[Array]]]


class Reader(Protocol):
    """What a session of documents is given; it owns no key.

    Attributes:
        arrays: Shape and dtype of each array that is kept for a document.
    """

    arrays: dict[str, tuple[tuple[int, ...], Any]]

    def cold(self, count: int) -> State:
        """States of documents of which nothing was read."""

    def read(
        self, state: State, finished: Sequence[Array], ahead: Sequence[Array]
    ) -> Array:
        """Advances states by finished tokens, and classifies all text so far.

        Args:
            state: Arrays `(count, ...)`, changed in place.
            finished: Ids of each document.
            ahead: Ids that may yet change: counted in the answer, not in the state.

        Returns:
            float32, `(count, num_classes)`.
        """


class WholeReader:
    """Keeps the ids that a network without state needs, and runs it anew.

    Args:
        network: Of whole texts.
        longest: Most tokens that it is given; None: any number.
        head: How many of them are the first of the text; the others are its last.
    """

    def __init__(self, network: Network, longest: int | None, head: int):
        self._network = network
        self._head = None if longest is None else head
        self._tail = 0 if longest is None else longest - head
        self.arrays: dict[str, tuple[tuple[int, ...], Any]] = {
            "head": ((), BYTES),
            "tail": ((), BYTES),
        }

    def cold(self, count: int) -> State:
        """No ids."""
        return {
            name: np.array([b""] * count, BYTES).reshape(count) for name in self.arrays
        }

    def read(
        self, state: State, finished: Sequence[Array], ahead: Sequence[Array]
    ) -> Array:
        """As in `Reader`."""
        rows = []
        for index, (own, more) in enumerate(zip(finished, ahead, strict=True)):
            head, tail = (
                np.frombuffer(state[name][index], np.int32) for name in self.arrays
            )
            head, tail = self._extend(head, tail, own)
            state["head"][index], state["tail"][index] = head.tobytes(), tail.tobytes()
            rows.append(np.concatenate(self._extend(head, tail, more)))
        return _by_length(self._network, rows)

    def _extend(self, head: Array, tail: Array, ids: Array) -> tuple[Array, Array]:
        """What is kept of a text that goes on."""
        room = len(ids) if self._head is None else self._head - len(head)
        head, rest = np.concatenate([head, ids[:room]]), ids[room:]
        if not self._tail or not len(rest):
            return head, tail
        return head, np.concatenate([tail, rest])[-self._tail :]


def _by_length(network: Network, rows: Sequence[Array]) -> Array:
    """Runs texts of about one length side by side."""
    order = np.argsort([len(row) for row in rows], kind="stable")
    parts = []
    for start in range(0, len(rows), _ROWS):
        chosen = order[start : start + _ROWS]
        parts.append(network(pad_ids([rows[i] for i in chosen])))
    joined = np.concatenate(parts)
    answers = np.empty_like(joined)
    answers[order] = joined
    return answers


class CarryingReader:
    """Keeps the states of a network that goes on where it ended.

    Args:
        advance: The network.
        initial: States of so many texts of which nothing was read.
        longest: Most tokens that it reads, the first ones; None: any number.
    """

    def __init__(
        self,
        advance: Advance,
        initial: Callable[[int], list[Array]],
        longest: int | None,
    ):
        self._advance, self._initial, self._longest = advance, initial, longest
        self._names = [f"state_{index}" for index in range(len(initial(1)))]
        self.arrays = {
            name: (array.shape[1:], array.dtype)
            for name, array in zip(self._names, initial(1), strict=True)
        }
        self.arrays["tokens"] = ((), np.dtype(np.int64))

    def cold(self, count: int) -> State:
        """As the network has it before the first token."""
        states = dict(zip(self._names, self._initial(count), strict=True))
        return {**states, "tokens": np.zeros(count, np.int64)}

    def read(
        self, state: State, finished: Sequence[Array], ahead: Sequence[Array]
    ) -> Array:
        """As in `Reader`."""
        answers = []
        for start in range(0, len(finished), _ROWS):
            part = slice(start, start + _ROWS)
            own = {name: array[part] for name, array in state.items()}
            self._go_on(own, finished[part])
            provisional = {name: array.copy() for name, array in own.items()}
            answers += self._go_on(provisional, ahead[part], answer=True)
        return np.concatenate(answers)

    def _go_on(
        self, state: State, rows: Sequence[Array], answer: bool = False
    ) -> list[Array]:
        """Advances states in place, so many tokens at a time.

        Returns:
            Probabilities after the last token of each row, if `answer`; else nothing.
        """
        if self._longest is not None:
            room = np.maximum(self._longest - state["tokens"], 0)
            rows = [ids[:most] for ids, most in zip(rows, room, strict=True)]
        lengths = np.array([len(ids) for ids in rows])
        state["tokens"] += lengths
        answers: list[Array] = []
        for start in range(0, max(int(lengths.max()), int(answer)), _STEPS):
            # Rows that have ended wait; if there is an answer, all are asked for it.
            here = np.flatnonzero((lengths > start) | (answer and start == 0)).tolist()
            inputs = pad_ids([rows[i][start : start + _STEPS] for i in here])
            before = [state[name][here] for name in self._names]
            told, after = self._advance(inputs, before)
            for name, array in zip(self._names, after, strict=True):
                state[name][here] = array
            if answers:
                answers[0][here] = told
            elif answer:
                answers.append(np.array(told))
        return answers


def keras_advance(
    model: Any, rows: int, chunk_length: int
) -> tuple[Advance, Callable[[int], list[Array]]]:
    """A stateful Keras classifier as a function of its states, which it leaves alone.

    Args:
        model: Of `build_text_classifier(stateful=True, reset_input=True)`.
        rows: Its `batch_size`.
        chunk_length: Tokens at a time; shorter pieces are padded to a power of two, so
            that few shapes are compiled.

    Returns:
        The function, and one that gives the states of so many texts at first.
    """
    from keras_seq.training.autodiff import compiled

    others = model.non_trainable_variables
    places = [
        index
        for index, variable in enumerate(others)
        if variable.path.rsplit("/", 1)[-1].startswith("state_inference_")
    ]

    def run(trained: Any, fixed: Any, inputs: Any) -> Any:
        answer, after = model.stateless_call(trained, fixed, inputs, training=False)
        return answer, [after[place] for place in places]

    run = compiled(run)

    def advance_chunk(
        inputs: dict[str, Array], state: list[Array]
    ) -> tuple[Array, list[Array]]:
        count = len(inputs["length"])
        fixed = [variable.value for variable in others]
        for place, array in zip(places, state, strict=True):
            fixed[place] = pad_batch(array, rows)
        batch = {name: pad_batch(array, rows) for name, array in inputs.items()}
        batch["reset"] = np.zeros(rows, bool)
        trained = [variable.value for variable in model.trainable_variables]
        answer, after = run(trained, fixed, batch)
        return np.asarray(answer)[:count], [np.asarray(a)[:count] for a in after]

    def advance(
        inputs: dict[str, Array], state: list[Array]
    ) -> tuple[Array, list[Array]]:
        answers, states = [], []
        for first in range(0, len(inputs["length"]), rows):
            part = slice(first, first + rows)
            own = [array[part] for array in state]
            tokens, length = inputs["tokens"][part], inputs["length"][part]
            for start in range(0, tokens.shape[1], chunk_length):
                chunk = tokens[:, start : start + chunk_length]
                width = 1 << (chunk.shape[1] - 1).bit_length()
                chunk = np.pad(chunk, ((0, 0), (0, width - chunk.shape[1])))
                left = np.clip(length - start, 0, chunk_length).astype(np.int32)
                answer, own = advance_chunk({"tokens": chunk, "length": left}, own)
            answers.append(answer)
            states.append(own)
        joined = [np.concatenate(parts) for parts in zip(*states, strict=True)]
        return np.concatenate(answers), joined

    def initial(count: int) -> list[Array]:
        return [
            np.zeros((count, others[place].shape[1]), others[place].dtype)
            for place in places
        ]

    return advance, initial
