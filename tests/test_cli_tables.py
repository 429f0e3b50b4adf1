"""What the command line reads and writes: tables, pairs, scores."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from keras_seq.cli.options import collect, parse_pairs
from keras_seq.cli.report import format_table, show_scores
from keras_seq.cli.tables import read_series, read_texts, write_table


def test_texts_are_read_as_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "texts.csv"
    rows = ['"",x,1', "NA,x,2", "null,None,3", "007,NA,", '"a ""b""\nc",x,5']
    content = "\n".join(["\ufefftext,label,size", *rows]) + "\n"
    path.write_text(content, encoding="utf-8")
    frame = read_texts(path, "text", "label")
    assert list(frame["text"]) == ["", "NA", "null", "007", 'a "b"\nc']
    assert list(frame["label"]) == ["x", "x", "None", "NA", "x"]
    assert frame["size"].tolist()[:3] == [1, 2, 3]
    assert np.isnan(frame["size"][3])


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["1", "-2", "0"], [1, -2, 0]),
        (["True", "False", "True"], [True, False, True]),
        (["1", "02", "3"], ["1", "02", "3"]),
        (["1", "x", "True"], ["1", "x", "True"]),
        (["1.0", "2.0", "3.0"], ["1.0", "2.0", "3.0"]),
    ],
)
def test_labels_keep_the_type_they_are_written_in(
    tmp_path: Path, cells: list[str], values: list[Any]
) -> None:
    path = tmp_path / "texts.csv"
    path.write_text("text,label\n" + "".join(f"t,{cell}\n" for cell in cells))
    labels = read_texts(path, "text", "label")["label"].tolist()
    assert labels == values
    assert [type(label) for label in labels] == [type(value) for value in values]


@pytest.mark.parametrize(
    ("cells", "lists"),
    [
        (["b; a", "", "c"], [["b", "a"], [], ["c"]]),
        (["3;1", ";", "2"], [[3, 1], [], [2]]),
        (["3;x", "1", ""], [["3", "x"], ["1"], []]),
        (["True", "False", ""], [["True"], ["False"], []]),
        (["", "", ""], [[], [], []]),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_cells_are_cut_into_labels(
    tmp_path: Path, cells: list[str], lists: list[list[Any]], suffix: str
) -> None:
    path = tmp_path / f"texts{suffix}"
    write_table(pd.DataFrame({"text": list("tuv"), "label": cells}), path)
    labels = read_texts(path, "text", "label", ";")["label"].tolist()
    assert labels == lists
    kinds = {type(label) for given in lists for label in given}
    assert {type(label) for given in labels for label in given} == kinds


def test_parquet_may_hold_lists(tmp_path: Path) -> None:
    path = tmp_path / "texts.parquet"
    pd.DataFrame({"text": ["t", "u"], "label": [["a", "b"], []]}).to_parquet(path)
    labels = read_texts(path, "text", "label")["label"]
    assert [list(given) for given in labels] == [["a", "b"], []]


def test_no_separator_between_labels(tmp_path: Path) -> None:
    path = tmp_path / "texts.csv"
    path.write_text("text,label\nt,a\n")
    with pytest.raises(ValueError, match="--label-sep must not be empty"):
        read_texts(path, "text", "label", "")


def test_stamps_become_timestamps_and_whole_numbers_stay(tmp_path: Path) -> None:
    path = tmp_path / "series.csv"
    path.write_text("shop,day,sales,size\n01,2024-01-31,1,7\n02,2024-02-01,,8\n")
    frame = read_series(path, "shop", "day", "sales")
    assert frame["shop"].tolist() == ["01", "02"]
    assert frame["day"].tolist() == [
        pd.Timestamp("2024-01-31"),
        pd.Timestamp("2024-02-01"),
    ]
    assert frame["size"].dtype == "int64"
    assert np.isnan(frame["sales"][1])
    path.write_text("day,sales\n3,1\n4,2\n")
    single = read_series(path, None, "day", "sales")
    assert single["day"].tolist() == [3, 4]


def test_pairs_are_json_or_python_or_text() -> None:
    pairs = ["a=1", "b=[1, 2]", "c=(0.1, 10, 'log')", "d=None", "e=true", "f-g=gru"]
    assert parse_pairs(pairs, "--set") == {
        "a": 1,
        "b": [1, 2],
        "c": (0.1, 10, "log"),
        "d": None,
        "e": True,
        "f_g": "gru",
    }
    assert collect(["cell=gru"], units=3, seed=None) == {"cell": "gru", "units": 3}
    with pytest.raises(ValueError, match="'a' twice"):
        parse_pairs(["a=1", "a=2"], "--set")


def test_a_table_of_scores_is_aligned() -> None:
    rows = {"model": {"mae": 0.12345678, "n": 12345}, "naive": {"mae": 123456.7}}
    assert format_table(rows).splitlines() == [
        "           mae       n",
        "model   0.1235  12,345",
        "naive  123,457",
    ]


def test_scores_are_json_even_where_a_score_is_not_a_number() -> None:
    scores = {"mase": float("nan"), "baselines": {"naive": {"mase": 1.0}}}
    assert json.loads(show_scores(scores, as_json=True)) == {
        "mase": None,
        "baselines": {"naive": {"mase": 1.0}},
    }
