"""The file: exact, whole or not at all, and never silently wrong."""

import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import keras_seq
from keras_seq import artifact, files
from keras_seq.errors import ArtifactError

MANIFEST: dict[str, Any] = {
    "estimator": "Forecaster",
    "params": {"horizon": 12, "cell": "gru"},
    "builder": {"units": [4, 4]},
    "state": {"ids": ["é", "日本"]},
}
ARRAYS = {
    "model/kernel": np.arange(12, dtype=np.float32).reshape(3, 4),
    "tail/values": np.array([0.1, np.nan, -np.inf]),
    "tail/offsets": np.array([0, 2, 3]),
    "words": np.array(["a", "ββ"]),
}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "model.kseq"
    artifact.write(path, MANIFEST, ARRAYS)
    return path


def _same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> bool:
    return first.keys() == second.keys() and all(
        first[name].dtype == second[name].dtype
        and first[name].tobytes() == second[name].tobytes()
        for name in first
    )


def test_what_is_written_is_read(saved: Path) -> None:
    manifest, arrays = artifact.read(saved)
    assert {name: manifest[name] for name in MANIFEST} == MANIFEST
    assert manifest["versions"]["keras_seq"] == keras_seq.__version__
    assert _same(arrays, ARRAYS)
    assert artifact.read_manifest(saved) == manifest


def test_the_same_content_gives_the_same_bytes(saved: Path) -> None:
    before = saved.read_bytes()
    os.utime(saved, (0, 0))
    artifact.write(saved, MANIFEST, ARRAYS)
    assert saved.read_bytes() == before


def test_a_missing_file_is_not_called_damaged(tmp_path: Path) -> None:
    for function in (artifact.read, artifact.read_manifest, keras_seq.load):
        with pytest.raises(FileNotFoundError, match=r"nothing\.kseq"):
            function(tmp_path / "nothing.kseq")


@pytest.mark.parametrize("function", [artifact.read, keras_seq.load])
def test_folders_and_foreign_files_are_named(tmp_path: Path, function: Any) -> None:
    path = tmp_path / "file"
    with pytest.raises(ArtifactError, match="is a folder"):
        function(tmp_path)
    for content in (b"", b"hello, world\n" * 100, pickle.dumps({"a": 1})):
        path.write_bytes(content)
        with pytest.raises(ArtifactError, match=r"file is no saved keras_seq model"):
            function(path)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"readme.txt": "hello"}, "no manifest.json"),
        # The members of a `.keras` file.
        (
            {"metadata.json": "{}", "config.json": "{}", "model.weights.h5": "\x89HDF"},
            "no manifest.json",
        ),
        ({"manifest.json": "{}"}, "not written by keras_seq"),
        ({"manifest.json": "[]"}, "not written by keras_seq"),
        ({"manifest.json": '{"name": "a web app"}'}, "not written by keras_seq"),
        ({"manifest.json": "not json"}, "is damaged"),
        ({"manifest.json": '{"format": "keras_seq", "format_version": 1}'}, "it lacks"),
    ],
)
def test_other_zip_files_are_named(
    tmp_path: Path, members: dict[str, str], message: str
) -> None:
    path = tmp_path / "other.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(ArtifactError, match=message):
        artifact.read(path)


def _rewrite(path: Path, **changes: Any) -> None:
    """Changes the manifest as another program would, checksums of the zip included."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    manifest = {**json.loads(members["manifest.json"]), **changes}
    members["manifest.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_a_newer_format_asks_for_an_upgrade(saved: Path) -> None:
    versions = {"keras_seq": "9.1.0"}
    _rewrite(saved, format_version=2, versions=versions)
    with pytest.raises(ArtifactError, match=r"version 2, newer.*upgrade.*9\.1\.0"):
        artifact.read(saved)


def test_an_unknown_estimator_is_named(saved: Path) -> None:
    _rewrite(saved, estimator="os.system")
    with pytest.raises(ArtifactError, match="unknown estimator 'os.system'"):
        keras_seq.load(saved)


def test_swapped_weights_are_noticed(saved: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.kseq"
    artifact.write(other, MANIFEST, {"model/kernel": np.zeros(3)})
    with zipfile.ZipFile(other) as archive:
        weights = archive.read("weights.npz")
    with zipfile.ZipFile(saved) as archive:
        manifest = archive.read("manifest.json")
    with zipfile.ZipFile(saved, "w") as archive:
        archive.writestr("manifest.json", manifest)
        archive.writestr("weights.npz", weights)
    with pytest.raises(ArtifactError, match="its weights were changed"):
        artifact.read(saved)


def test_pickled_arrays_are_never_loaded(saved: Path) -> None:
    with pytest.raises(ValueError, match="allow_pickle"):
        artifact.write(saved, MANIFEST, {"x": np.array([{}], dtype=object)})
    assert _same(artifact.read(saved)[1], ARRAYS)


def test_every_truncation_is_noticed(saved: Path) -> None:
    content = saved.read_bytes()
    for length in range(len(content)):
        saved.write_bytes(content[:length])
        with pytest.raises(ArtifactError, match=r"model\.kseq"):
            artifact.read(saved)


def test_every_flipped_byte_is_noticed_or_harmless(saved: Path) -> None:
    content = saved.read_bytes()
    expected = artifact.read(saved)[0]
    noticed = 0
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 0xFF
        saved.write_bytes(changed)
        try:
            manifest, arrays = artifact.read(saved)
        except ArtifactError:
            noticed += 1
        else:  # a zip has fields without a meaning, such as the time stamps
            assert manifest == expected
            assert _same(arrays, ARRAYS)
    assert noticed > 0.7 * len(content)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_no_other(
    saved: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    before = saved.read_bytes()

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(files.os, step, fail)
    with pytest.raises(OSError, match="disk full"):
        artifact.write(saved, {**MANIFEST, "params": {}}, ARRAYS)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["model.kseq"]


def test_paths_and_frequencies_are_kept_as_text(saved: Path) -> None:
    params = {"embeddings": Path("v.vec"), "freq": pd.offsets.MonthBegin()}
    artifact.write(saved, {**MANIFEST, "params": params}, ARRAYS)
    assert artifact.read_manifest(saved)["params"] == {
        "embeddings": "v.vec",
        "freq": "MS",
    }


def test_numbers_that_json_lacks_are_refused_before_writing(saved: Path) -> None:
    before = saved.read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        artifact.write(saved, {**MANIFEST, "state": {"loss": float("nan")}}, ARRAYS)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["model.kseq"]


def test_others_may_read_the_file_as_the_umask_says(saved: Path) -> None:
    mask = os.umask(0)
    os.umask(mask)
    assert saved.stat().st_mode & 0o777 == 0o666 & ~mask


def test_an_estimator_that_is_no_name_is_refused(saved: Path) -> None:
    _rewrite(saved, estimator=["Forecaster"])
    with pytest.raises(ArtifactError, match="its estimator is no name"):
        keras_seq.load(saved)
