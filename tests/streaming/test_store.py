"""KeyedStates against a plain dict, and what it costs."""

import subprocess
import sys
from collections import OrderedDict

import numpy as np
import pytest

from keras_seq.streaming.store import KeyedStates

ARRAYS = {"h": ((3,), np.float32), "at": ((), np.int64), "text": ((), object)}


def make_state(numbers):
    numbers = np.asarray(numbers)
    texts = np.empty(len(numbers), object)
    texts[:] = [b"\0\xff" * int(n % 5) for n in numbers]
    return {
        "h": np.repeat(numbers[:, None], 3, axis=1).astype(np.float32),
        "at": numbers.astype(np.int64),
        "text": texts,
    }


def check(store, keys, numbers):
    state, known = store.read(keys)
    assert known.all()
    for name, expected in make_state(numbers).items():
        np.testing.assert_array_equal(state[name], expected)


@pytest.mark.parametrize(
    ("spilling", "max_keys"), [(False, None), (False, 40), (True, 40)]
)
def test_as_a_dict_that_forgets_the_least_recently_written(
    tmp_path, spilling, max_keys
):
    options = {"on_full": "write", "spill": tmp_path} if spilling else {}
    store = KeyedStates(ARRAYS, max_keys=max_keys, **options)
    plain: OrderedDict = OrderedDict()
    names = [*(f"key{i}" for i in range(60)), *range(60)]  # "1" is not 1
    random = np.random.default_rng(0)
    for call in range(300):
        picked = random.permutation(len(names))[: random.integers(1, 12)]
        keys = [names[i] for i in picked]
        if call % 7 == 3:
            gone = sum(plain.pop(key, None) is not None for key in keys)
            assert store.drop(keys) == gone
            continue
        numbers = random.integers(0, 1000, len(keys))
        # Equal in time: the order within a call is the store's own affair.
        store.write(keys, make_state(numbers))
        for key, number in zip(keys, numbers, strict=True):
            plain[key] = number
            plain.move_to_end(key)
        if max_keys and not spilling:
            here = set(store.keys())
            assert len(here) == min(len(plain), max_keys)
            newest = list(plain)[-(max_keys - 12) :]
            assert here >= set(newest)
            plain = OrderedDict((k, v) for k, v in plain.items() if k in here)
        assert set(store.keys()) == set(plain)
        assert len(store) == len(plain)
        check(store, list(plain), list(plain.values()))
        assert store.capacity <= (max_keys or 120 * 1.25 + 16)
    _, known = store.read(["never"])
    assert not known[0]


def test_least_recently_written_exactly():
    store = KeyedStates({"at": ((), np.int64)}, max_keys=200)
    plain: OrderedDict = OrderedDict()
    random = np.random.default_rng(1)
    for _ in range(3000):
        key = int(random.integers(0, 400))
        store.write([key], {"at": np.array([key])})
        plain[key] = key
        plain.move_to_end(key)
        if len(plain) > 200:
            plain.popitem(last=False)
        assert set(store.find(list(plain)) >= 0) == {True}
    assert set(store.keys()) == set(plain)


def test_spilled_states_come_back(tmp_path):
    store = KeyedStates(ARRAYS, max_keys=10, on_full="write", spill=tmp_path / "new")
    keys = [*(f"k{i}" for i in range(30)), "\ud800", -1, 2**62]
    for key in keys:
        store.write([key], make_state([len(str(key))]))
    assert len(store) == 33 and (store.find(keys) >= 0).sum() == 10
    check(store, keys, [len(str(key)) for key in keys])
    forked = store.fork()
    store.write(["k0"], make_state([999]))
    check(store, ["k0"], [999])
    check(forked, keys, [len(str(key)) for key in keys])
    assert len(store) == 33 and sorted(map(str, store.keys())) == sorted(map(str, keys))
    assert store.drop(["k0", "k1", "k1"]) == 2 and len(store) == 31
    assert len(list((tmp_path / "new").iterdir())) == 2
    del store, forked
    assert not list((tmp_path / "new").iterdir())


def test_blocks_give_all_states_oldest_first(tmp_path):
    store = KeyedStates(ARRAYS, max_keys=5, on_full="write", spill=tmp_path)
    for number in [3, 1, 4, 15, 9, 2, 6, 1]:
        store.write([number], make_state([number]))
    found = []
    for keys, state in store.blocks(2):
        assert len(keys) <= 2
        for name, expected in make_state(keys).items():
            np.testing.assert_array_equal(state[name], expected)
        found += keys
    # 3 and 1 left to make room, and 1 came back, for which 4 left.
    assert found == [3, 4, 15, 9, 2, 6, 1]


def test_slots_are_used_again():
    store = KeyedStates({"at": ((), np.int64)})
    for start in range(0, 5000, 50):
        keys = list(range(start, start + 50))
        store.write(keys, {"at": np.array(keys)})
        assert store.drop(keys) == 50
    assert len(store) == 0 and store.capacity < 100


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_keys": 0}, "`max_keys` must be .*max_keys=0"),
        ({"on_full": "keep"}, "`on_full` must be .*on_full='keep'"),
        ({"max_keys": 2, "on_full": "write"}, "`spill` must be .*spill=None"),
        ({"spill": "folder"}, "`spill` must be .*spill='folder'"),
        ({"on_full": "write", "spill": "folder"}, "`max_keys` must say"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        KeyedStates(ARRAYS, **options)


def test_more_keys_than_there_may_be():
    store = KeyedStates(ARRAYS, max_keys=2)
    with pytest.raises(ValueError, match="At most max_keys=2 .*Received: 3"):
        store.write([1, 2, 3], make_state([1, 2, 3]))


_MEASURE = """
import sys, tracemalloc
import numpy as np
from keras_seq.streaming.store import KeyedStates

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

count = int(sys.argv[1])
tracemalloc.start()
before = resident()
store = KeyedStates({"h": ((8,), np.float32), "at": ((), np.int64)})
for first in range(0, count, 10_000):
    keys = [f"store_{i:07d}" for i in range(first, min(first + 10_000, count))]
    state = store.layout.empty(len(keys))
    store.write(keys, {name: np.zeros_like(a) for name, a in state.items()})
del keys, state
assert len(store) == count
print(tracemalloc.get_traced_memory()[0] / count - 40)
"""


def measure(count):
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(count)],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def test_memory_per_key():
    """Names of 13 letters included; arrays of 40 bytes are not."""
    assert 60 < measure(50_000) < 300


@pytest.mark.exhaustive
def test_memory_of_a_million_keys():
    assert 60 < measure(1_000_000) < 300
