"""A search from a job file, from flags, and from both; what is wrong is named."""

import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import keras_seq
from keras_seq.cli import main
from keras_seq.cli.job_file import TUNE, read_job_file
from keras_seq.cli.options import SEARCH
from keras_seq.tuning.search_result import SearchResult

SERIES_JOB = """
data: series.csv
output: best.kseq
id_col: shop
time_col: month
target_col: sales

estimator:
  horizon: 3
  cell: gru
  max_steps: 2
  learning_rate: 1e-3
  quantiles: [0.1, 0.5, 0.9]

space:
  units: [2, 3]
  dropout: {low: 0, high: 0.5}
  global_clipnorm: {low: 1e-1, high: 10, log: true}

tune:
  algorithm: random
  max_trials: 2
  max_trial_mb: 4000
  directory: search
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    steps = np.arange(30)
    stamps = pd.date_range("2020-01-01", periods=30, freq="MS")
    frame = pd.DataFrame({"shop": "a", "month": stamps, "sales": np.sin(steps / 2)})
    frame.to_csv(tmp_path / "series.csv", index=False)
    texts = [f"{mood} day {i}" for i in range(12) for mood in ("good", "bad")]
    labels = ["up", "down"] * 12
    table = pd.DataFrame({"text": texts, "label": labels})
    table.to_csv(tmp_path / "texts.csv", index=False)
    (tmp_path / "job.yaml").write_text(SERIES_JOB)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> Callable[..., SimpleNamespace]:
    """Runs a command with a `tune` that only records what it is asked for."""
    calls: list[SimpleNamespace] = []

    def tune(estimator: Any, *data: Any, **search: Any) -> SearchResult:
        calls.append(SimpleNamespace(estimator=estimator, data=data, search=search))
        best = SimpleNamespace(save=lambda path: path.write_text("a model"))
        trials = pd.DataFrame({"trial": [0], "units": [2], "score": [0.5]})
        return SearchResult(best, {"units": 2}, 0.5, trials, "mase", False)

    monkeypatch.setattr("keras_seq.tune", tune)

    def run(*arguments: Any) -> SimpleNamespace:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        assert ended.value.code == 0
        return calls[-1]

    return run


def test_a_job_file_is_what_could_be_typed(
    folder: Path, searched: Callable[..., SimpleNamespace]
) -> None:
    typed = searched(
        *("forecast", "tune", "series.csv", "-o", "best.kseq", "--horizon", 3),
        *("--id-col", "shop", "--time-col", "month", "--target-col", "sales"),
        *("--cell", "gru", "--max-steps", 2, "--set", "learning_rate=1e-3"),
        *("--set", "quantiles=[0.1, 0.5, 0.9]", "--vary", "units=[2, 3]"),
        *("--vary", "dropout=(0, 0.5)", "--vary", "global_clipnorm=(0.1, 10, 'log')"),
        *("--algorithm", "random", "--max-trials", 2, "--max-trial-mb", 4000),
        *("--directory", "search"),
    )
    filed = searched("forecast", "tune", "--job", "job.yaml")
    assert filed.estimator.get_params() == typed.estimator.get_params()
    assert filed.estimator.learning_rate == 0.001
    pd.testing.assert_frame_equal(filed.data[0], typed.data[0])
    assert filed.search == {**typed.search, "directory": "search"}
    assert typed.search == {
        "space": {
            "units": [2, 3],
            "dropout": (0, 0.5),
            "global_clipnorm": (0.1, 10, "log"),
        },
        "algorithm": "random",
        "max_trials": 2,
        "max_trial_mb": 4000.0,
        "directory": Path("search"),
        "seed": 0,
    }


def test_what_is_typed_wins_over_the_file_argument_by_argument(
    folder: Path, searched: Callable[..., SimpleNamespace]
) -> None:
    (folder / "series.csv").rename(folder / "other.csv")
    call = searched(
        *("forecast", "tune", "other.csv", "--job", "job.yaml", "-o", "typed.kseq"),
        *("--cell", "lstm", "--set", "learning_rate=0.5", "--vary", "units=[7, 8]"),
        *("--max-trials", 9, "--folds", 2, "--num-seeds", 3, "--executor", "ray"),
        *("--time-col", "month", "--seed", 4),
    )
    estimator = call.estimator
    assert (estimator.cell, estimator.learning_rate) == ("lstm", 0.5)
    assert (estimator.max_steps, estimator.time_col) == (2, "month")
    assert call.search["space"]["units"] == [7, 8]
    assert call.search["space"]["dropout"] == (0, 0.5)
    assert call.search["algorithm"] == "random"
    for name, value in {"max_trials": 9, "folds": 2, "num_seeds": 3, "seed": 4}.items():
        assert call.search[name] == value
    assert call.search["executor"] == "ray"
    assert (folder / "typed.kseq").exists()
    assert not (folder / "best.kseq").exists()


def test_texts_have_a_job_file_too_and_defaults_where_it_is_silent(
    folder: Path, searched: Callable[..., SimpleNamespace]
) -> None:
    (folder / "jobs").mkdir()
    (folder / "jobs" / "job.yaml").write_text(
        "data: texts.csv\noutput: text.kseq\n"
        "tune: {seed: 8, executor: null, resources: {num_cpus: 2}}\n"
        "estimator: {epochs: 1, units: [4, 2]}\nspace:\n"
    )
    call = searched("text", "tune", "--job", "jobs/job.yaml", "--seed", 3)
    assert (folder / "text.kseq").exists()
    assert call.data[0][:2] == ["good day 0", "bad day 0"]
    assert call.data[1][:2] == ["up", "down"]
    assert (call.estimator.epochs, call.estimator.units) == (1, [4, 2])
    assert call.estimator.seed == 3
    assert call.search == {"seed": 8, "executor": None, "resources": {"num_cpus": 2}}


def test_one_series_has_no_id(
    folder: Path, searched: Callable[..., SimpleNamespace]
) -> None:
    for given in ("null", "''"):
        job = SERIES_JOB.replace("id_col: shop", f"id_col: {given}")
        (folder / "job.yaml").write_text(job)
        call = searched("forecast", "tune", "--job", "job.yaml")
        assert call.estimator.id_col is None


def test_the_model_and_the_report_are_written_and_named(
    folder: Path,
    searched: Callable[..., SimpleNamespace],
    capsys: pytest.CaptureFixture,
) -> None:
    searched("forecast", "tune", "--job", "job.yaml")
    printed = capsys.readouterr().out
    assert "best mase 0.5: units=2\nsaved best.kseq\n" in printed
    assert "wrote best.search.json and best.search.png\n" in printed
    found = json.loads((folder / "best.search.json").read_text())
    assert found["best_score"] == 0.5
    assert (folder / "best.search.png").read_bytes().startswith(b"\x89PNG")
    (folder / "reports").mkdir()
    searched("forecast", "tune", "--job", "job.yaml", "--report", "reports/a.json")
    assert "wrote reports/a.json and reports/a.png\n" in capsys.readouterr().out
    assert len(list((folder / "reports").iterdir())) == 2


def test_every_key_is_an_argument_of_tune_and_every_option_a_key() -> None:
    accepted = set(inspect.signature(keras_seq.tune).parameters)
    assert set(TUNE) <= accepted
    assert accepted - set(TUNE) - {"estimator", "data", "space", "verbose"} == set()
    files_and_space = {"data", "job", "output", "report", "vary"}
    in_the_file_only = {"resources", "seed"}  # --seed is the estimator's
    assert set(SEARCH) - files_and_space == set(TUNE) - in_the_file_only


def test_yaml_can_repeat_itself_by_reference(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(
        "estimator: &shared {units: 3}\ntune:\n  <<: {seed: 1}\n  <<: {folds: 2}\n"
        "space: {dropout: &range {low: 0, high: 1}, embedding_dropout: *range}\n"
    )
    job = read_job_file(path, ["text_col"], ["units"])
    assert job.tune == {"seed": 1, "folds": 2}
    assert job.space == {"dropout": (0, 1), "embedding_dropout": (0, 1)}


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("[1]", [1]),
        ("[1e3, 1.5E-2, -2e+1, .5e1]", [1e3, 1.5e-2, -20.0, 5.0]),
        ("[gru, null, true, [64, 32], 007x]", ["gru", None, True, [64, 32], "007x"]),
        ("{low: 1, high: 8}", (1, 8)),
        ("{high: 8, low: 1, log: false}", (1, 8)),
        ("{low: 1e-5, high: 1, log: true}", (1e-5, 1, "log")),
    ],
)
def test_limits_are_a_list_or_a_range(text: str, limits: Any, tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(f"space:\n  argument: {text}\n")
    found = read_job_file(path, ["text_col"], ["units"]).space["argument"]
    assert found == limits
    assert [type(value) for value in found] == [type(value) for value in limits]


BAD_JOBS = {
    "top level": (
        "outptu: x.kseq",
        "no key 'outptu' at the top level. Did you mean 'o",
    ),
    "of the other task": (
        "text_col: x",
        "no key 'text_col' at the top level. Did you m",
    ),
    "in tune": (
        "tune: {max_trails: 3}",
        "no key 'max_trails' under `tune`. Did you mean 'max_trials'?",
    ),
    "tune at the top": (
        "max_trials: 3",
        "'max_trials' at the top level. It belongs un",
    ),
    "estimator at the top": ("horizon: 3", "It belongs under `estimator`."),
    "either": ("seed: 3", "It belongs under `estimator` or under `tune`."),
    "estimator in tune": ("tune: {units: 3}", "It belongs under `estimator`."),
    "column in estimator": (
        "estimator: {horizon: 3, time_col: t}",
        "'time_col' belongs at the top level, not under `estimator`.",
    ),
    "range": ("space: {units: {low: 1}}", "`space.units` must be a list of values"),
    "part of a range": (
        "space: {units: {low: 1, high: 2, lg: true}}",
        "no key 'lg' under `space.units`. Did you mean 'log'?",
    ),
    "log": ("space: {units: {low: 1, high: 2, log: 3}}", "Received: {'low': 1, 'high'"),
    "single value": ("space: {units: 64}", "Received: 64"),
    "no choice": ("space: {units: []}", "Received: []"),
    "directory": ("tune: {directory: 3}", "`tune.directory` must be text"),
    "resources": ("tune: {resources: 3}", "`tune.resources` must consist of lines"),
    "section": ("tune: 3", "`tune` must consist of lines `key: value`. Received: 3"),
    "no mapping": ("- data", "The file must consist of lines `key: value`"),
    "keys": ("{1: 2}", "must consist of lines `key: value`. Received: {1: 2}"),
    "not text": (
        "target_col: 2020",
        "`target_col` must be text, in quotes if it looks",
    ),
    "data": ("data: [a, b]", "`data` must be text"),
    "twice": (
        "tune:\n  seed: 1\n  seed: 2",
        "job.yaml, line 3: 'seed' is given twice.",
    ),
    "syntax": ("data: series.csv\nspace: {units: [1", "job.yaml, line 2: "),
    "object": ("data: !!python/name:os.system x", "could not determine a constructor"),
    "list as a key": ("? [a, b]\n: 1", "job.yaml, line 1: found unhashable key"),
    "date": (
        "data: 2020-13-45",
        "job.yaml has a value that makes no sense: month must",
    ),
    "control": ("data: \x07", "job.yaml is no YAML"),
    "data missing": ("output: a.kseq", "DATA is missing: type it, or give `data` in a"),
    "output missing": ("data: series.csv", "--output is missing: type it, or give `ou"),
    "horizon missing": (
        "{data: series.csv, output: a.kseq}",
        "--horizon is missing: type it, or give `horizon` under `estimator` in a job",
    ),
    "report": (
        "{data: series.csv, output: a.kseq, report: a.png, estimator: {horizon: 3}}",
        "--report must end in .json. Received: a.png",
    ),
    "folder of report": (
        "{data: series.csv, output: a.kseq, report: x/a.json, estimator: {horizon: 3}}",
        "The folder of --report does not exist: x",
    ),
    "estimator": (
        SERIES_JOB.replace("cell:", "cel:"),
        "no key 'cel' under `estimator`. Did you mean 'cell'?",
    ),
    "tune in estimator": (
        SERIES_JOB.replace("cell:", "folds:"),
        "no key 'folds' under `estimator`. It belongs under `tune`.",
    ),
    "space": (
        SERIES_JOB.replace("  units:", "  unit:"),
        "no key 'unit' under `space`. Did you mean 'units'?",
    ),
    "empty": ("", "DATA is missing"),
}


@pytest.mark.parametrize("case", BAD_JOBS)
def test_a_bad_job_file_ends_in_one_line_and_code_2(
    case: str, folder: Path, capfd: pytest.CaptureFixture
) -> None:
    text, message = BAD_JOBS[case]
    (folder / "job.yaml").write_text(text)
    before = {path.name for path in folder.iterdir()}
    with pytest.raises(SystemExit) as ended:
        main(["forecast", "tune", "--job", "job.yaml"])
    assert ended.value.code == 2
    error = capfd.readouterr().err
    assert message in error
    assert error.startswith("keras-seq: ")
    assert error.count("\n") == 1
    if "missing" not in error and "--report" not in error:
        assert "job.yaml" in error
    assert {path.name for path in folder.iterdir()} == before


def test_a_job_file_must_exist_and_be_text(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    (folder / "latin.yaml").write_bytes("data: café".encode("latin-1"))
    (folder / "job").mkdir()
    for name, message in {
        "nothing.yaml": "There is no file nothing.yaml.",
        "latin.yaml": "latin.yaml is not UTF-8",
        "job": "job is a folder.",
    }.items():
        with pytest.raises(SystemExit) as ended:
            main(["text", "tune", "--job", name])
        assert ended.value.code == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("task", ["text", "forecast"])
def test_without_a_file_what_is_missing_is_named(
    task: str, capsys: pytest.CaptureFixture
) -> None:
    cases = {
        "DATA is missing: type it": [],
        "--output is missing: type it": ["series.csv"],
    }
    if task == "forecast":
        cases["--horizon is missing: type it"] = ["series.csv", "-o", "a.kseq"]
    for message, arguments in cases.items():
        with pytest.raises(SystemExit) as ended:
            main([task, "tune", *arguments])
        assert ended.value.code == 2
        assert message in capsys.readouterr().err


def test_an_executor_is_a_number_or_ray(
    folder: Path,
    searched: Callable[..., SimpleNamespace],
    capsys: pytest.CaptureFixture,
) -> None:
    command = ("forecast", "tune", "--job", "job.yaml", "--executor")
    assert searched(*command, "4").search["executor"] == 4
    assert searched(*command, "ray").search["executor"] == "ray"
    assert "executor" not in searched(*command[:-1]).search
    with pytest.raises(SystemExit) as ended:
        main([*command, "rai"])
    assert ended.value.code == 2
    assert "--executor" in (error := capsys.readouterr().err)
    assert "Received: 'rai'" in error


def test_the_help_lists_the_options_and_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from keras_seq.cli import main\n"
        "try: main(['forecast', 'tune', '--help'])\n"
        "except SystemExit as ended: assert ended.code == 0\n"
        "heavy = {'keras', 'pandas', 'numpy', 'yaml'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for option in (*SEARCH, "id_col", "horizon", "max_steps"):
        if option != "data":
            assert f"--{option.replace('_', '-')} " in done.stdout
    assert "required" not in done.stdout


@pytest.mark.slow
def test_a_job_file_searches_and_saves(folder: Path) -> None:
    # In this process: to start workers takes longer than all the rest.
    job = SERIES_JOB.replace("max_trial_mb: 4000", "executor: null")
    (folder / "job.yaml").write_text(job)
    with pytest.raises(SystemExit) as ended:
        main(["forecast", "tune", "--job", "job.yaml", "--units", "2"])
    assert ended.value.code == 0
    assert (folder / "search" / "trials.jsonl").exists()
    assert keras_seq.load("best.kseq").get_params()["learning_rate"] == 1e-3
    report = json.loads((folder / "best.search.json").read_text())
    assert report["objective"] == "mase"
    assert [trial["trial"] for trial in report["trials"]] == [0, 1]
    assert set(report["best_params"]) >= {"units", "dropout", "global_clipnorm"}
    assert report["trials"][0]["units"] == 2
    assert report["trials"][1]["units"] in (2, 3)
    assert 0.1 <= report["trials"][1]["global_clipnorm"] <= 10
    assert (folder / "best.search.png").exists()
