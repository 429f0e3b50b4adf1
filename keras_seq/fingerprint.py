"""Fingerprints: whether work found on disk is the work that is asked for."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from keras_seq.artifact import package_version
from keras_seq.files import replace_file

_PACKAGES = ("keras-seq", "keras", "tensorflow", "jax", "numpy", "keras-tuner")


def fingerprint_fit(estimator: Any, data: Any) -> dict[str, Any]:
    """What decides the outcome of a fit: estimator, arguments, data and versions."""
    import keras

    return {
        "estimator": type(estimator).__name__,
        "params": {
            # JSON makes text of all keys, and knows none of NumPy's.
            name: repr(dict(value)) if isinstance(value, Mapping) else value
            for name, value in estimator.get_params(deep=False).items()
        },
        "data": hash_data(data),
        "versions": {
            "backend": keras.backend.backend(),
            **{name: package_version(name) for name in _PACKAGES},
        },
    }


def hash_data(data: Any) -> str:
    """A digest of frames, arrays, lists and their nestings, in order.

    Paths are files of data, of which the contents count.
    """
    digest = hashlib.sha256()
    _update(digest, data)
    return digest.hexdigest()


def digest_path(path: Path) -> Any:
    """What is in a file, or in a folder and its folders; hidden files are left out.

    Names of folders count, since they may be labels. Names of files and times do not:
    files may be moved, copied and touched.
    """
    if path.is_dir():
        return [
            [child.name if child.is_dir() else "", digest_path(child)]
            for child in sorted(path.iterdir())
            if not child.name.startswith(".")
        ]
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def jsonable(value: Any) -> Any:
    """What stands in a fingerprint or log for a value that JSON does not have."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if callable(value):
        # Objects that can be called, such as partial functions, have no name.
        named = value if hasattr(value, "__qualname__") else type(value)
        return f"{getattr(named, '__module__', 'builtins')}.{named.__qualname__}"
    return repr(value)


def check_fingerprint(
    path: Path, fingerprint: Mapping[str, Any], argument: str, work: str
) -> None:
    """Writes the fingerprint of new work, or compares it with the one there.

    Args:
        path: The file that holds it.
        fingerprint: JSON-able, one level of dicts deep.
        argument: Which argument named the folder, for the message.
        work: What is done there: `"search"`, `"fit"`.

    Raises:
        ValueError: If the folder holds other work, saying what differs.
    """
    fresh = json.loads(json.dumps(fingerprint, default=jsonable))
    if not path.exists():
        with replace_file(path) as file:
            file.write(json.dumps(fresh, indent=1).encode())
        return
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}.") from error
    changes = list(_differences(stored, fresh))
    if changes:
        raise ValueError(
            f"`{argument}` holds another {work}, {path.parent}: {'; '.join(changes)}. "
            "Give another folder, or the same arguments to go on."
        )


def _differences(stored: Any, fresh: dict[str, Any]) -> Iterator[str]:
    if not isinstance(stored, dict) or set(stored) != set(fresh):
        yield "it was written by another version of keras_seq"
        return
    for name, value in fresh.items():
        if isinstance(value, dict):
            before = stored[name]
            for key in sorted({*before, *value}):
                was, now = (side.get(key, "absent") for side in (before, value))
                if was != now:
                    yield f"{name} {key!r} was {was!r} and is {now!r}"
        elif name == "data" and stored[name] != value:
            yield "the data differ"
        elif stored[name] != value:
            yield f"{name} was {stored[name]!r} and is {value!r}"


def _update(digest: Any, data: Any) -> None:
    if hasattr(data, "to_pandas"):  # polars and the like
        data = data.to_pandas()
    if isinstance(data, pd.DataFrame | pd.Series):
        names = list(data.columns) if isinstance(data, pd.DataFrame) else data.name
        digest.update(repr((type(data).__name__, names, len(data))).encode())
        try:
            hashes = pd.util.hash_pandas_object(data)
        except (TypeError, UnicodeEncodeError):  # lists, or halves of characters
            columns = data if isinstance(data, pd.DataFrame) else {names: data}
            for _, column in columns.items():
                _update(digest, column.to_list())
            hashes = pd.util.hash_pandas_object(data.index)
        digest.update(hashes.to_numpy().tobytes())
    elif isinstance(data, np.ndarray) and data.dtype != object:
        digest.update(repr(("array", data.dtype.str, data.shape)).encode())
        digest.update(np.ascontiguousarray(data).tobytes())
    elif isinstance(data, list | tuple | np.ndarray):
        digest.update(repr(("sequence", len(data))).encode())
        for item in data:
            _update(digest, item)
    elif isinstance(data, set | frozenset):  # their order differs between processes
        digest.update(repr(("set", sorted(map(repr, data)))).encode())
    elif hasattr(data, "fingerprint"):  # data in files
        _update(digest, data.fingerprint())
    elif isinstance(data, PathLike):
        path = Path(data)
        _update(digest, ["path", digest_path(path) if path.exists() else str(path)])
    elif isinstance(data, Mapping):
        _update(digest, [[name, data[name]] for name in data])
    elif isinstance(data, Iterator):
        raise TypeError(
            "What is read once cannot be compared: give a list. "
            f"Received: {type(data).__name__}"
        )
    else:  # text, numbers, None
        digest.update(repr(data).encode("utf-8", "surrogatepass") + b"\0")
