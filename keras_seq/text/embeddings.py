"""Pretrained word vectors from a file, for the tokens of a vocabulary."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from os import PathLike
from pathlib import Path

import numpy as np

SUFFIXES = (".vec", ".txt", ".npy")
# Files of words beside an array, in the order they are looked for.
_WORD_SUFFIXES = (".vocab", ".words", ".txt")
# Words that are normalised at once.
_CHUNK = 10_000

# A word, and what reads its vector: of most words nobody asks for it.
Entry = tuple[str, Callable[[], np.ndarray]]


def read_embeddings(
    path: str | PathLike[str],
    vocabulary: Sequence[str],
    normalize: Callable[[list[str]], list[str]],
    seed: int,
) -> tuple[np.ndarray, float]:
    """Reads the vectors of a vocabulary's tokens.

    A word of the file is looked up as it is, then as texts are normalised: `"Paris"`
    gives `"paris"` its vector if the file has no `"paris"` of its own. Tokens that the
    file lacks draw normal vectors of the same spread; padding has zeros.

    Args:
        path: `.vec` or `.txt`: a word and its numbers on each line, parted by spaces,
            with or without a first line of two counts (fastText, word2vec, GloVe).
            `.npy`: an array, `(words, dim)`, with the words beside it, one on each
            line of a file of the same name that ends in `.vocab`, `.words` or `.txt`.
        vocabulary: Tokens by id; the first two are padding and unknown.
        normalize: As texts are before they are split.
        seed: Of what is drawn.

    Returns:
        float32, `(len(vocabulary), dim)`, and the share of the tokens that are found.

    Raises:
        ValueError: If the file is missing, of another kind or broken (naming the line),
            or has none of the tokens.
    """
    file = Path(path)
    if not file.is_file():
        raise ValueError(f"`embeddings` names no file. Received: {str(path)!r}")
    if file.suffix not in SUFFIXES:
        raise ValueError(
            f"`embeddings` must end in {', '.join(SUFFIXES)}. Received: {str(path)!r}"
        )
    ids = {token: number for number, token in enumerate(vocabulary) if number > 1}
    found: dict[int, np.ndarray] = {}
    normalised: dict[int, np.ndarray] = {}
    entries = _read_array(file) if file.suffix == ".npy" else _read_lines(file)
    while chunk := list(islice(entries, _CHUNK)):
        shown = normalize([word for word, _ in chunk])
        for (word, read), other in zip(chunk, shown, strict=True):
            if word in ids:
                found.setdefault(ids[word], read())
            elif other in ids:
                normalised.setdefault(ids[other], read())
    found = {**normalised, **found}
    if not found:
        raise ValueError(
            f"`embeddings`: {file} has a vector for none of the {len(ids):,} tokens of "
            f"the vocabulary, such as {list(ids)[:5]}."
        )
    numbers = sorted(found)
    held = np.stack([found[number] for number in numbers])
    vectors = np.random.default_rng(seed).normal(
        held.mean(), held.std(), (len(vocabulary), held.shape[1])
    )
    vectors[0] = 0.0
    vectors[numbers] = held
    return vectors.astype(np.float32), len(found) / max(len(ids), 1)


def _read_lines(file: Path) -> Iterator[Entry]:
    dim = 0
    with file.open(encoding="utf-8", errors="replace", newline="\n") as lines:
        for number, line in enumerate(lines, start=1):
            line = line.rstrip()
            if number == 1 and _is_header(line):
                continue
            dim = dim or _count_numbers(line)
            place = f"{file}, line {number}"
            # From the right: some words of the large files hold spaces.
            parts = line.rsplit(" ", dim)
            if not dim or len(parts) != dim + 1:
                raise ValueError(
                    f"`embeddings`: {place} must be a word and {dim or 'some'} "
                    f"numbers, parted by spaces. Received: {line[:60]!r}"
                )
            yield parts[0], partial(_to_vector, parts[1:], place)


def _to_vector(numbers: Sequence[str] | np.ndarray, place: str) -> np.ndarray:
    try:
        vector = np.array(numbers, np.float32)
    except ValueError as error:
        raise ValueError(f"`embeddings`: {place} is no vector: {error}.") from None
    if not np.isfinite(vector).all():
        raise ValueError(f"`embeddings`: {place} has NaN or infinity.")
    return vector


def _is_header(line: str) -> bool:
    parts = line.split()
    return len(parts) == 2 and all(part.isdigit() for part in parts)


def _count_numbers(line: str) -> int:
    """How many numbers stand at the end of a line, behind one word at least."""
    count = 0
    for part in reversed(line.split(" ")[1:]):
        try:
            float(part)
        except ValueError:
            break
        count += 1
    return count


def _read_array(file: Path) -> Iterator[Entry]:
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"`embeddings`: {file} is no array: {error}.") from None
    if array.ndim != 2 or array.dtype.kind != "f":
        raise ValueError(
            f"`embeddings`: {file} must hold floats, (words, dim). Received: "
            f"{array.dtype}, {array.shape}"
        )
    beside = [file.with_suffix(suffix) for suffix in _WORD_SUFFIXES]
    words_file = next((path for path in beside if path.is_file()), None)
    if words_file is None:
        raise ValueError(
            f"`embeddings`: {file} needs its words beside it, one on each line of "
            f"{' or '.join(path.name for path in beside)}."
        )
    words = words_file.read_text(encoding="utf-8").split("\n")
    if words[-1] == "":
        words.pop()
    if len(words) != len(array):
        raise ValueError(
            f"`embeddings`: {words_file} must have a word for each row of {file}. "
            f"Received: {len(words):,} words, {len(array):,} rows"
        )
    for number, word in enumerate(words):
        read = partial(_to_vector, array[number], f"{file}, row {number}")
        yield word.rstrip("\r"), read
