"""The shipped data: complete, typed, small, and really in the wheel."""

import shutil
import subprocess
import sys
import zipfile
from importlib import resources
from pathlib import Path

import pandas as pd
import pytest

from keras_seq.datasets import load_aus_retail, load_sms_spam

REPOSITORY = Path(__file__).parents[1]
FILES = ("aus_retail.parquet", "sms_spam.parquet")


def test_sms_spam_is_whole() -> None:
    frame = load_sms_spam()
    assert list(frame.columns) == ["text", "label"]
    assert len(frame) == 5574
    # The counts that the UCI page of the collection states.
    assert frame["label"].value_counts().to_dict() == {"ham": 4827, "spam": 747}
    assert frame["text"].map(type).eq(str).all()
    assert not frame.isna().to_numpy().any()


def test_aus_retail_is_a_regular_long_frame() -> None:
    frame = load_aus_retail()
    assert list(frame.columns) == ["unique_id", "ds", "y", "State", "Industry"]
    assert len(frame) == 64532
    assert frame["unique_id"].nunique() == 152
    assert pd.api.types.is_datetime64_any_dtype(frame["ds"])
    assert frame["y"].dtype == "float64"
    assert not frame.isna().to_numpy().any()
    assert (frame["y"] > 0).all()
    assert frame["ds"].min() == pd.Timestamp("1982-04-01")
    assert frame["ds"].max() == pd.Timestamp("2018-12-01")
    sorted_again = frame.sort_values(["unique_id", "ds"], kind="stable")
    assert sorted_again.index.equals(frame.index)
    for _, series in frame.groupby("unique_id"):
        months = pd.date_range(series["ds"].iloc[0], series["ds"].iloc[-1], freq="MS")
        assert months.equals(pd.DatetimeIndex(series["ds"]))
        assert series[["State", "Industry"]].nunique().eq(1).all()


def test_a_caller_may_change_its_copy() -> None:
    frame = load_sms_spam()
    frame.loc[0, "label"] = "changed"
    assert load_sms_spam().loc[0, "label"] == "ham"


def test_files_are_small_and_their_licences_stand_beside_them() -> None:
    folder = resources.files("keras_seq.datasets")
    sizes = [len(folder.joinpath(name).read_bytes()) for name in FILES]
    assert sum(sizes) < 600_000
    notice = folder.joinpath("README.md").read_text(encoding="utf-8")
    assert all(name in notice for name in FILES)
    assert "CC BY 4.0" in notice


@pytest.mark.slow
def test_the_wheel_carries_the_data(tmp_path: Path) -> None:
    source = tmp_path / "source"
    ignored = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info")
    shutil.copytree(REPOSITORY, source, ignore=ignored)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "."]
    subprocess.run([*command, "-w", tmp_path], cwd=source, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {f"keras_seq/datasets/{name}" for name in (*FILES, "README.md")} <= names
    assert "keras_seq/py.typed" in names
