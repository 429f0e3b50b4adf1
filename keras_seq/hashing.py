"""hash_runs: one number for each run of tokens, the same in every runtime."""

from typing import Any

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
