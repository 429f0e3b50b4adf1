"""The one file format: a zip of `manifest.json` and `weights.npz`.

The manifest holds names and numbers, the npz plain arrays; nothing is unpickled and
no Keras configuration is deserialised, so nothing in a file can execute.
"""

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Collection, Mapping
from importlib import import_module, metadata
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np

import keras_seq
from keras_seq.errors import ArtifactError
from keras_seq.files import replace_file

FORMAT = "keras_seq"
FORMAT_VERSION = 1

ESTIMATORS = {
    "Forecaster": "keras_seq.forecasting.forecaster",
    "TextClassifier": "keras_seq.text.classifier",
}
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same content gives the same bytes


def load(path: str | PathLike[str], **overrides: Any) -> Any:
    """Loads a saved estimator of either kind.

    Args:
        path: A file written by `save`.
        overrides: Constructor arguments that are not saved, such as a callable
            `split`.

    Returns:
        A fitted `TextClassifier` or `Forecaster`.

    Raises:
        ArtifactError: If the file is damaged, foreign or from a newer version.
        FileNotFoundError: If there is no such file.
    """
    name = read_manifest(path)["estimator"]
    if name not in ESTIMATORS:
        raise ArtifactError(
            f"{path} holds an unknown estimator {name!r}; this version knows "
            f"{', '.join(ESTIMATORS)}."
        )
    return getattr(import_module(ESTIMATORS[name]), name).load(path, **overrides)


def write(
    path: str | PathLike[str],
    manifest: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
) -> None:
    """Writes the file under a temporary name and moves it into place.

    Args:
        path: Target; its folder must exist.
        manifest: JSON-able values.
        arrays: Numeric, boolean or unicode arrays.
    """
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    weights = buffer.getvalue()
    full = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        **manifest,
        "versions": {
            "keras_seq": keras_seq.__version__,
            **{name: package_version(name) for name in ("keras", "numpy", "pandas")},
        },
        "checksums": {"weights.npz": hashlib.sha256(weights).hexdigest()},
    }
    text = json.dumps(
        full, ensure_ascii=False, allow_nan=False, indent=1, default=_plain
    )
    with replace_file(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, content in (("manifest.json", text), ("weights.npz", weights)):
            info = zipfile.ZipInfo(name, _EPOCH)
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)


def read_manifest(path: str | PathLike[str]) -> dict[str, Any]:
    """Reads and checks the manifest alone."""
    return _open(path, with_arrays=False)[0]


def read(
    path: str | PathLike[str],
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Reads a file that `write` wrote and checks it.

    Raises:
        ArtifactError: Saying what is wrong with the file.
        FileNotFoundError: If there is no such file.
    """
    return _open(path, with_arrays=True)


def _open(
    path: str | PathLike[str], with_arrays: bool
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    if Path(path).is_dir():
        raise ArtifactError(f"{path} is a folder, not a saved keras_seq model.")
    try:
        with zipfile.ZipFile(path) as archive:
            if "manifest.json" not in archive.namelist():
                raise ArtifactError(
                    f"{path} is a zip but no saved keras_seq model: it has no "
                    "manifest.json."
                )
            manifest = json.loads(archive.read("manifest.json"))
            _check_manifest(path, manifest)
            if not with_arrays:
                return manifest, {}
            weights = archive.read("weights.npz")
            expected = manifest["checksums"]["weights.npz"]
            if hashlib.sha256(weights).hexdigest() != expected:
                raise ArtifactError(f"{path} is damaged: its weights were changed.")
            with np.load(io.BytesIO(weights), allow_pickle=False) as stored:
                return manifest, {name: stored[name] for name in stored.files}
    except ArtifactError:
        raise
    except FileNotFoundError:
        raise
    except zipfile.BadZipFile as error:
        raise ArtifactError(
            f"{path} is no saved keras_seq model, or it is truncated or damaged: "
            f"{error}."
        ) from error
    except (
        OSError,
        EOFError,
        KeyError,
        TypeError,
        ValueError,
        RuntimeError,  # an encrypted member, or an unknown compression
        zlib.error,
    ) as error:
        raise ArtifactError(f"{path} is damaged: {error}.") from error


def _check_manifest(path: Any, manifest: Any) -> None:
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ArtifactError(f"{path} was not written by keras_seq.")
    version = manifest.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise ArtifactError(
            f"{path} has format version {version}, newer than version "
            f"{FORMAT_VERSION}, the newest that keras_seq {keras_seq.__version__} "
            f"reads: upgrade keras_seq (it was written by "
            f"{manifest.get('versions', {}).get('keras_seq')})."
        )
    missing = {"estimator", "params", "builder", "state", "checksums"} - set(manifest)
    if missing:
        raise ArtifactError(f"{path} is damaged: it lacks {sorted(missing)}.")
    if not isinstance(manifest["estimator"], str):
        raise ArtifactError(f"{path} is damaged: its estimator is no name.")


def _plain(value: Any) -> Any:
    """What arguments may be besides: scalars of NumPy, which grids hand out, paths and
    frequencies."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, PathLike):
        return fspath(value)
    if hasattr(value, "freqstr"):  # of pandas, which the NumPy runtime does without
        return value.freqstr
    raise TypeError(
        f"Only plain values can be saved. Received: {type(value).__name__} {value!r}"
    )


def check_functions(
    path: Any,
    names: Collection[str],
    saved: Mapping[str, str],
    given: Mapping[str, Any],
) -> None:
    """Whether just the functions are given that the fitted estimator had.

    Args:
        path: Of the file.
        names: Arguments that may be functions.
        saved: The manifest's `functions`.
        given: Arguments of `load`.

    Raises:
        ArtifactError: If a function is missing.
        ValueError: If a function is given for what is in the file.
    """
    for name in names:
        if name in saved and not callable(given.get(name)):
            raise ArtifactError(
                f"{path} was saved with a function as `{name}` ({saved[name]}), "
                f"which no file holds: give it again, load(path, {name}=...)."
            )
        if name in given and name not in saved:
            raise ValueError(
                f"`{name}` is in {path} and cannot be replaced, since the network "
                f"was trained with it. Received: {name}={given[name]!r}"
            )


def package_version(package: str) -> str:
    """Of an installed package; `"absent"` if it is not."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"
