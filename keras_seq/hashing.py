"""Numbers that follow from others alone: of runs of tokens, and of seeds."""

from typing import Any

import numpy as np

# Odd, so that distinct tokens stay distinct in a power of two of buckets.
MULTIPLIERS = (31_337, 7_919, 15_731, 24_593)
MOST_BUCKETS = 2**20
_HALF = 2**10


def hash_runs(tokens: Any, run: int, buckets: int, roll: Any) -> Any:
    """Buckets of the runs of tokens that begin at each step of the last axis.

    Args:
        tokens: int32.
        run: Tokens in a run. Those that reach beyond the end take from the beginning.
        buckets: At most `MOST_BUCKETS`.
        roll: NumPy's, or that of `keras.ops`.
    """
    mixed = 0
    # In two halves, so that no product leaves int32.
    high, low = tokens % buckets // _HALF, tokens % buckets % _HALF
    for offset in range(run):
        multiplier = MULTIPLIERS[offset]
        part = high * multiplier % buckets * _HALF + low * multiplier
        mixed = mixed + roll(part % buckets, -offset, axis=-1)
    return mixed % buckets


def derive_seed(*address: int | str) -> int:
    """Turns an address such as `(seed, epoch, "dropout")` into one 31-bit seed.

    Every random draw has an address instead of a place in a stream, so that a job
    that was interrupted and resumed draws what an undisturbed one draws.
    """
    words: list[int] = []
    for part in address:
        words += part.encode() if isinstance(part, str) else [int(part)]
    return int(np.random.SeedSequence(words).generate_state(1)[0] >> 1)
