"""The command line: files in, files out, and one clear line when they are wrong."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import keras_seq
from keras_seq.cli import main
from keras_seq.cli.tables import write_table
from keras_seq.training.fit import StopOnNonFiniteLoss

TEXTS = pd.DataFrame(
    {
        "message": [f"{mood} day {i}" for i in range(12) for mood in ("good", "bad")],
        "mood": ["up", "down"] * 12,
        "row": range(24),
    }
)
SMALL_TEXT = ["--units", "2", "--epochs", "1", "--set", "embedding_dim=2"]
SMALL_SERIES = ["--horizon", "3", "--units", "2", "--max-steps", "2"]
SERIES_COLUMNS = ["--id-col", "shop", "--time-col", "month", "--target-col", "sales"]
TEXT_COLUMNS = ["--text-col", "message", "--label-col", "mood"]


def _series() -> pd.DataFrame:
    steps = np.arange(40)
    stamps = pd.date_range("2020-01-01", periods=40, freq="MS")
    return pd.concat(
        [
            pd.DataFrame(
                {"shop": shop, "month": stamps, "sales": level + np.sin(steps / 2)}
            )
            for shop, level in (("north", 5.0), ("south", 50.0))
        ],
        ignore_index=True,
    )


def run(*arguments: Any) -> None:
    """Runs a command in this process, which must end well."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert ended.value.code == 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables, and one model of each kind trained on them by the command line."""
    folder = tmp_path_factory.mktemp("cli")
    TEXTS.to_csv(folder / "texts.csv", index=False)
    _series().to_parquet(folder / "series.parquet")
    text, series = folder / "text.kseq", folder / "series.kseq"
    run("text", "fit", folder / "texts.csv", "-o", text, *TEXT_COLUMNS, *SMALL_TEXT)
    run(
        *("forecast", "fit", folder / "series.parquet", "-o", series),
        *(*SERIES_COLUMNS, *SMALL_SERIES),
    )
    return folder


def test_text_models_are_what_python_would_have_trained(folder: Path) -> None:
    loaded = keras_seq.load(folder / "text.kseq")
    assert loaded.get_params()["embedding_dim"] == 2
    typed = keras_seq.TextClassifier(units=2, epochs=1, embedding_dim=2)
    typed.fit(list(TEXTS["message"]), list(TEXTS["mood"]), verbose=0)
    np.testing.assert_allclose(
        loaded.predict_proba(list(TEXTS["message"])),
        typed.predict_proba(list(TEXTS["message"])),
        atol=1e-6,
    )


@pytest.mark.slow
def test_several_labels_per_text(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    lists = [["up", "day"], [], ["down"]] * 8
    table, model, target = (tmp_path / name for name in ("t.csv", "m.kseq", "p.csv"))
    cells = ["|".join(labels) for labels in lists]
    TEXTS.assign(mood=cells).to_csv(table, index=False)
    options = [*TEXT_COLUMNS, "--label-sep", "|"]
    run("text", "fit", table, "-o", model, *options, *SMALL_TEXT)
    loaded = keras_seq.load(model)
    assert loaded.classes_.tolist() == ["day", "down", "up"]
    column = ["--text-col", "message"]
    run("text", "predict", model, table, "-o", target, *column, "--label-sep", "|")
    expected = ["|".join(labels) for labels in loaded.predict(list(TEXTS["message"]))]
    found = pd.read_csv(target, keep_default_na=False)["prediction"].tolist()
    assert found == expected
    capsys.readouterr()
    run("text", "evaluate", model, table, *options, "--json")
    scores = json.loads(capsys.readouterr().out)
    own = loaded.evaluate(list(TEXTS["message"]), lists)
    assert scores["f1_micro"] == pytest.approx(own["f1_micro"])
    with pytest.raises(SystemExit):
        main(["text", "evaluate", str(model), str(table), *TEXT_COLUMNS])
    assert "--label-sep is missing" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_texts_are_labelled_beside_their_columns(folder: Path, suffix: str) -> None:
    source, target = folder / f"in{suffix}", folder / f"out{suffix}"
    unlabelled = TEXTS.drop(columns="mood")
    write_table(unlabelled, source)
    run(
        *("text", "predict", folder / "text.kseq", source, "-o", target),
        *("--text-col", "message", "--proba"),
    )
    read = pd.read_parquet if suffix == ".parquet" else pd.read_csv
    result = read(target)
    loaded = keras_seq.load(folder / "text.kseq")
    pd.testing.assert_frame_equal(
        result[["message", "row"]], unlabelled, check_dtype=False
    )
    expected = loaded.predict(list(TEXTS["message"]))
    assert result["prediction"].tolist() == expected.tolist()
    np.testing.assert_allclose(
        result[["proba_down", "proba_up"]],
        loaded.predict_proba(list(TEXTS["message"])),
        atol=1e-6,
    )


def test_a_table_without_output_is_printed(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    run("forecast", "predict", folder / "series.kseq", "--level", "80")
    lines = capsys.readouterr().out.splitlines()
    header = "shop,month,y_hat,y_hat_q0.1,y_hat_q0.5,y_hat_q0.9,y_hat_lo80,y_hat_hi80"
    assert lines[0] == header
    assert len(lines) == 1 + 2 * 3
    assert lines[1].startswith("north,2023-05-01,")


def test_text_scores_are_those_of_evaluate(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    arguments = ("text", "evaluate", folder / "text.kseq", folder / "texts.csv")
    run(*arguments, *TEXT_COLUMNS, "--json")
    scores = json.loads(capsys.readouterr().out)
    loaded = keras_seq.load(folder / "text.kseq")
    assert scores == loaded.evaluate(list(TEXTS["message"]), list(TEXTS["mood"]))
    run(*arguments, *TEXT_COLUMNS)
    table = capsys.readouterr().out.splitlines()
    assert "accuracy" in table[0]
    assert "f1 up" in table[0]
    assert [line.split("  ")[0] for line in table[1:3]] == ["this model", "majority"]


def test_series_are_forecast_from_any_history_and_scored(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    stamps = pd.date_range("2023-05-01", periods=3, freq="MS")
    future = pd.DataFrame(
        {"shop": ["north"] * 3, "month": stamps, "sales": [5.0, 6.0, 5.5]}
    )
    future.to_csv(folder / "future.csv", index=False)
    model, history = folder / "series.kseq", folder / "series.parquet"
    run("forecast", "evaluate", model, history, folder / "future.csv", "--json")
    scores = json.loads(capsys.readouterr().out)
    loaded = keras_seq.load(model)
    assert scores == loaded.evaluate(_series(), future)
    run("forecast", "predict", model, history, "-o", folder / "forecasts.csv")
    forecasts = pd.read_csv(folder / "forecasts.csv", parse_dates=["month"])
    expected = loaded.predict(_series())
    pd.testing.assert_frame_equal(forecasts, expected, check_dtype=False, rtol=1e-9)


def test_covariates_are_columns_and_those_known_ahead_a_table(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    table = _series().assign(promo=random.random(80) < 0.5, region="x")
    table.loc[table["shop"] == "north", "region"] = "y"
    last = table["month"].max()
    past, ahead = (
        table[part] for part in (table["month"] < last, table["month"] == last)
    )
    past.to_csv(tmp_path / "past.csv", index=False)
    ahead.drop(columns="sales").to_csv(tmp_path / "ahead.csv", index=False)
    model, written = tmp_path / "m.kseq", tmp_path / "forecasts.csv"
    run(
        *("forecast", "fit", tmp_path / "past.csv", "-o", model),
        *(*SERIES_COLUMNS, *SMALL_SERIES, "--static-covariates", "region"),
        *("--future-covariates", "promo"),
    )
    options = ("--future", tmp_path / "ahead.csv", "--horizon", 1)
    run("forecast", "predict", model, "-o", written, *options)
    loaded = keras_seq.load(model)
    assert loaded.get_params()["static_covariates"] == ["region"]
    expected = loaded.predict(future=ahead, horizon=1)["y_hat"]
    np.testing.assert_allclose(pd.read_csv(written)["y_hat"], expected, rtol=1e-6)


def test_a_backtest_is_written_with_its_baseline(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    target = folder / "windows.parquet"
    run(
        *("forecast", "backtest", folder / "series.parquet", "-o", target),
        *("--num-windows", 2, *SERIES_COLUMNS, *SMALL_SERIES),
    )
    windows = pd.read_parquet(target)
    assert windows["cutoff"].nunique() == 2
    assert {"shop", "month", "sales", "y_hat", "seasonal_naive"} <= set(windows)
    error = (windows["y_hat"] - windows["sales"]).abs().mean()
    assert f"{error:.4g}" in capsys.readouterr().out


@pytest.mark.slow
def test_a_search_saves_its_best_and_resumes(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    arguments = [
        *("text", "tune", folder / "texts.csv", "-o", folder / "best.kseq"),
        *(*TEXT_COLUMNS, *SMALL_TEXT, "--algorithm", "random"),
        *("--vary", "dropout=(0.1, 0.5)", "--vary", "units=[2, 3]"),
        *("--directory", folder / "search", "--max-trials"),
    ]
    run(*arguments, 1)
    run(*arguments, 2)
    printed = capsys.readouterr().out
    assert printed.count("search 1/1: ") == printed.count("search 2/2: ") == 1
    report = json.loads((folder / "best.search.json").read_text())
    assert [trial["status"] for trial in report["trials"]] == ["completed"] * 2
    assert keras_seq.load(folder / "best.kseq").get_params()["units"] in (2, 3)


def test_info_tells_the_essentials_and_all(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    run("info", folder / "text.kseq")
    text = capsys.readouterr().out
    for part in ("TextClassifier", "2: down, up", "embedding_dim=2", "majority"):
        assert part in text
    run("info", folder / "series.kseq")
    series = capsys.readouterr().out
    for part in ("Forecaster", "freq=MS", "season_length=12", "mase"):
        assert part in series
    run("info", folder / "series.kseq", "--json")
    assert json.loads(capsys.readouterr().out)["params"]["horizon"] == 3


BAD_INPUT = {
    "missing data": ("text fit nothing.csv -o x.kseq", "There is no file nothing.csv"),
    "suffix": ("text fit texts.tsv -o x.kseq", "the suffix '.tsv'"),
    "output suffix": ("forecast predict series.kseq -o x.xls", "the suffix '.xls'"),
    "folder of output": ("text fit texts.csv -o no/x.kseq", "does not exist: no"),
    "column": (
        "text fit texts.csv -o x.kseq --text-col mesage",
        "no column 'mesage' (--text-col). Did you mean 'message'?",
    ),
    "label column": (
        "text fit texts.csv -o x.kseq --text-col message",
        "no column 'label' (--label-col)",
    ),
    "empty file": ("text predict text.kseq empty.csv", "empty.csv is empty"),
    "ragged rows": ("text predict text.kseq ragged.csv", "ragged.csv cannot be read"),
    "not UTF-8": ("text predict text.kseq latin.csv", "latin.csv is not UTF-8"),
    "not Parquet": (
        "text predict text.kseq fake.parquet",
        "fake.parquet cannot be read",
    ),
    "not gzip": ("text predict text.kseq fake.csv.gz", "fake.csv.gz cannot be read"),
    "labels missing": (
        "text fit holes.csv -o x.kseq",
        "2 of 3 rows break this, the first are rows 2, 4",
    ),
    "stamps": (
        "forecast fit stamps.csv -o x.kseq --horizon 2",
        "column 'ds' must hold",
    ),
    "missing model": ("forecast predict nothing.kseq", "There is no file nothing.kseq"),
    "no model": ("info texts.csv", "no saved keras_seq model"),
    "other model": ("forecast predict text.kseq", "a TextClassifier, not a Forecaster"),
    "argument": (
        "forecast fit series.parquet -o x.kseq --horizon 3 --set lokback=1"
        " --id-col shop --time-col month --target-col sales",
        "Did you mean 'lookback'?",
    ),
    "value": (
        "forecast fit series.parquet -o x.kseq --horizon 0"
        " --id-col shop --time-col month --target-col sales",
        "Received: horizon=0",
    ),
    "given twice": (
        "text fit texts.csv -o x.kseq --units 3 --set units=4",
        "'units' is given by --set and by --units",
    ),
    "pair": ("text fit texts.csv -o x.kseq --set units", "takes NAME=VALUE"),
    "search space": (
        "text tune texts.csv -o x.kseq --text-col message --label-col mood"
        " --vary unit=[1]",
        "Did you mean 'units'?",
    ),
}


@pytest.fixture
def bad_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    contents = {
        "texts.tsv": "text\tlabel\n",
        "empty.csv": "",
        "ragged.csv": "text\nfine\ntoo,many,cells\n",
        "fake.parquet": "hello",
        "fake.csv.gz": "text\nhello\n",
        "holes.csv": "text,label\na,\nb,x\nc,\n",
        "stamps.csv": "unique_id,ds,y\na,yesterday,1\na,today,2\n",
    }
    for name, content in contents.items():
        (folder / name).write_text(content)
    (folder / "latin.csv").write_bytes("text\ncafé\n".encode("latin-1"))
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_ends_in_one_line_and_code_2(
    case: str, bad_folder: Path, capfd: pytest.CaptureFixture
) -> None:
    command, message = BAD_INPUT[case]
    with pytest.raises(SystemExit) as ended:
        main(command.split())
    assert ended.value.code == 2
    error = capfd.readouterr().err
    assert message in error
    assert error.startswith("keras-seq: ")
    assert error.count("\n") == 1
    assert not (bad_folder / "x.kseq").exists()


def test_a_misspelt_option_is_a_usage_error(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["text", "fit", "--unitz", "3"])
    assert ended.value.code == 2
    assert "--unitz" in capsys.readouterr().err


def test_debug_shows_the_traceback(bad_folder: Path) -> None:
    with pytest.raises(ValueError, match="There is no file"):
        main(["--debug", "info", "nothing.kseq"])


def test_a_bug_keeps_its_traceback(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_in_pandas(*_: Any, **__: Any) -> None:
        pd.to_datetime(["no stamp"])

    def fail_in_our_frame(*_: Any, **__: Any) -> None:
        int(None)  # type: ignore[call-overload]

    for fail, error in ((fail_in_pandas, ValueError), (fail_in_our_frame, TypeError)):
        fail.__code__ = fail.__code__.replace(co_filename=keras_seq.__file__)
        monkeypatch.setattr("keras_seq.cli.info.describe_model", fail)
        with pytest.raises(error):
            main(["info", str(folder / "text.kseq")])


def test_a_lost_loss_is_one_line_and_code_1(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def lose(*_: Any, **__: Any) -> None:
        StopOnNonFiniteLoss().on_epoch_end(2, {"loss": float("nan")})

    monkeypatch.setattr("keras_seq.cli.info.describe_model", lose)
    with pytest.raises(SystemExit) as ended:
        main(["info", str(folder / "text.kseq")])
    assert ended.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith("keras-seq: The loss became nan in epoch 3")
    assert error.count("\n") == 1


def test_the_script_is_installed() -> None:
    script = Path(sys.executable).with_name("keras-seq")
    assert script.exists()


def test_the_demo_holds_whole_texts_out() -> None:
    from keras_seq.demo import split_texts

    frame = keras_seq.datasets.load_sms_spam()
    train, test = split_texts(frame)
    assert len(train) + len(test) == len(frame)
    assert not set(train["text"]) & set(test["text"])
    assert test["text"].nunique() == frame["text"].nunique() // 5


def test_the_demo_says_when_the_network_ties_or_loses(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    from keras_seq.demo import _print_results

    def verdict(accuracy: float, mase: float) -> str:
        text = {"TextClassifier": accuracy, "linear": 0.9, "majority": 0.8}
        series = {"Forecaster": mase, "seasonal naive": 1.0}
        scores = {
            "text": {name: {"accuracy": value} for name, value in text.items()},
            "series": {name: {"MASE": value} for name, value in series.items()},
        }
        _print_results({**scores, "hardware": "", "seed": 0, "seconds": 1.0}, tmp_path)
        return capsys.readouterr().out

    assert "network" not in verdict(0.91, 0.99)
    assert "no more accurate than the best baseline" in verdict(0.9, 0.99)
    assert "does not beat seasonal naive" in verdict(0.91, 1.0)


@pytest.mark.slow
def test_the_demo_judges_both_tasks(tmp_path: Path) -> None:
    from keras_seq.demo import run_demo

    scores = run_demo(tmp_path / "demo")
    assert scores["text"]["TextClassifier"]["accuracy"] > 0.98
    assert scores["series"]["Forecaster"]["MASE"] < 1.05
    assert scores["series"]["seasonal naive"]["MASE"] == pytest.approx(1.145, abs=1e-3)
    written = {path.name for path in (tmp_path / "demo").iterdir()}
    assert {
        *("sms_spam.kseq", "aus_retail.kseq", "scores.json"),
        *("confusion_matrix.png", "forecasts.png", "predictions.csv", "forecasts.csv"),
    } <= written
