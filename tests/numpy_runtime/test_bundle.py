"""What is imported, and the runtime as one file where only NumPy is installed."""

import csv
import json
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest

from keras_seq import numpy_runtime
from keras_seq.numpy_runtime.bundle import write_bundle
from tests.numpy_runtime.fitted import ODD_TEXTS, columns_of, make_frame

REPOSITORY = Path(__file__).parents[2]
HEAVY = ("tensorflow", "keras", "jax", "torch", "sklearn", "scipy", "pandas")

PREDICT = """
import sys
from keras_seq import numpy_runtime
text = numpy_runtime.load(sys.argv[1])
series = numpy_runtime.load(sys.argv[2])
assert len(text.predict(["so good", "bad"])) == 2
assert len(series.predict()["y_hat"]) == 12
known = series.predict()["ds"]
history = {"unique_id": ["z"] * 3, "ds": ["2020-01-01", "2020-02-01", "2020-04-01"]}
assert len(series.predict({**history, "y": [1.0, 2.0, None]}, level=[80])["ds"]) == 4
print([name for name in %r if name in sys.modules])
"""

# Every import fails but those of NumPy, the standard library and the bundle.
ALONE = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        root = name.partition(".")[0]
        if root in sys.stdlib_module_names or root in ("numpy", "bundle"):
            return None
        if root == "_keras_seq_runtime":
            return None
        raise ImportError(f"{name} is not to be imported")
sys.meta_path.insert(0, Refuse())
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, text_model, series_model):
    """Two saved models, what they answer, and the bundle."""
    folder = tmp_path_factory.mktemp("bundle")
    shutil.copy(text_model[2], folder / "text.kseq")
    shutil.copy(series_model[2], folder / "series.kseq")
    write_bundle(folder / "text.kseq", folder / "bundle.py")
    return folder


def run(command, folder, text=None, code=0):
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        input=text,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def test_predicting_imports_nothing_heavy(folder):
    path = f"import sys; sys.path.insert(0, {str(REPOSITORY)!r})\n"
    code = path + PREDICT % (HEAVY,)
    files = folder / "text.kseq", folder / "series.kseq"
    assert run([sys.executable, "-c", code, *files], folder).strip() == "[]"


def test_the_bundle_equals_the_package_and_needs_numpy_alone(folder):
    model = numpy_runtime.load(folder / "text.kseq")
    series = numpy_runtime.load(folder / "series.kseq")
    code = ALONE + (
        "import bundle, json\n"
        "text, series = bundle.load('text.kseq'), bundle.load('series.kseq')\n"
        f"found = text.predict_proba({ODD_TEXTS!r}).tolist()\n"
        "columns = series.predict(level=[60], horizon=6)\n"
        "columns = {n: c.astype(str).tolist() for n, c in columns.items()}\n"
        "told = series.stream(history='fit').step({'a': 9.0}).values.tolist()\n"
        "reader = text.stream()\n"
        "reader.step('so go')\n"
        "read = reader.step('od').values.tolist()\n"
        "print(json.dumps([found, columns, told, read]))\n"
    )
    found, columns, told, read = json.loads(run([sys.executable, "-c", code], folder))
    np.testing.assert_array_equal(np.float32(found), model.predict_proba(ODD_TEXTS))
    expected = series.predict(level=[60], horizon=6)
    assert columns == {n: c.astype(str).tolist() for n, c in expected.items()}
    answer = series.stream(history="fit").step({"a": 9.0})
    np.testing.assert_array_equal(told, answer.values)
    np.testing.assert_array_equal(
        np.float32(read), model.stream().step("so good").values
    )


def test_a_bundle_takes_frames_where_pandas_is_installed(folder):
    code = (
        "import bundle, pandas as pd, sys\n"
        "stamps = pd.date_range('2020-01-01', periods=5, freq='MS')\n"
        "frame = pd.DataFrame({'unique_id': 'q', 'ds': stamps, 'y': range(5)})\n"
        "print(bundle.load('series.kseq').predict(frame).to_json())\n"
        "assert not [name for name in sys.modules if name.startswith('keras')]\n"
    )
    found = json.loads(run([sys.executable, "-c", code], folder))
    table = {"ds": [f"2020-0{i}-01" for i in range(1, 6)], "unique_id": ["q"] * 5}
    model = numpy_runtime.load(folder / "series.kseq")
    expected = model.predict({**table, "y": range(5)})
    assert list(found) == list(expected)
    np.testing.assert_allclose(
        list(found["y_hat_q0.9"].values()), expected["y_hat_q0.9"], rtol=1e-6
    )


def test_texts_from_the_command_line(folder):
    model = numpy_runtime.load(folder / "text.kseq")
    command = [sys.executable, "bundle.py", "text.kseq"]
    texts = ["so good", "bad film", ""]
    probabilities = model.predict_proba(texts)
    answers = run([*command, *texts], folder).splitlines()
    for answer, label, row in zip(
        map(json.loads, answers), model.predict(texts), probabilities, strict=True
    ):
        assert answer == {"label": label, "probability": round(float(row.max()), 7)}
    lines = run([*command, "--probabilities"], folder, text="so good\nbad film\n\n")
    for line, row in zip(lines.splitlines(), probabilities, strict=True):
        shown = json.loads(line)["probabilities"]
        assert list(shown) == model.classes_.tolist()
        np.testing.assert_allclose(list(shown.values()), row, atol=1e-6)
    assert "is a TextClassifier" in run([*command, "--horizon", "3"], folder, code=1)
    assert "--probabilities" in run([*command, "--help"], folder)


def test_series_from_the_command_line(folder):
    model = numpy_runtime.load(folder / "series.kseq")
    command = [sys.executable, "bundle.py", "series.kseq"]
    frame = make_frame(length=12)[["unique_id", "ds", "y"]]
    frame.loc[3, "y"] = np.nan
    frame.to_csv(folder / "history.csv", index=False)
    expected = model.predict(columns_of(frame), level=[80])
    options = ["--history", "history.csv", "--level", "80", "--output", "answer.csv"]
    assert run([*command, *options], folder) == ""
    with open(folder / "answer.csv", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == list(expected)
    for name, column in zip(header, zip(*rows, strict=True), strict=True):
        if name.startswith("y_hat"):
            np.testing.assert_allclose(np.float64(column), expected[name])
        else:
            days = expected[name].astype("M8[D]" if name == "ds" else str)
            assert list(column) == days.astype(str).tolist()
    after = run(command, folder).splitlines()  # the training data
    assert len(after) == 1 + len(model.predict()["y_hat"])
    assert "give --history" in run([*command, "a text"], folder, code=1)
    (folder / "bad.csv").write_text("unique_id,ds,y\na,2020-01-01,much\n")
    wrong = run([*command, "--history", "bad.csv"], folder, code=1)
    assert "Column 'y' must hold numbers" in wrong and "Traceback" not in wrong
    (folder / "short.csv").write_text("unique_id,ds,y\na,2020-01-01\n")
    wrong = run([*command, "--history", "short.csv"], folder, code=1)
    assert "3 cells a row. Received 2 in row 2" in wrong


def test_a_bundle_is_not_written_for_what_does_not_run(folder, tmp_path):
    (tmp_path / "out.py").write_text("before")
    with pytest.raises(ValueError, match="no saved keras_seq model"):
        write_bundle(folder / "bundle.py", tmp_path / "out.py")
    assert (tmp_path / "out.py").read_text() == "before"


@pytest.mark.exhaustive
def test_the_bundle_runs_where_only_numpy_is_installed(folder, tmp_path):
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    run([python, "-m", "pip", "install", "-q", f"numpy=={np.__version__}"], folder)
    answer = run([python, "bundle.py", "text.kseq", "so good"], folder)
    assert answer == run([sys.executable, "bundle.py", "text.kseq", "so good"], folder)
    series = [python, "bundle.py", "series.kseq"]
    assert len(run(series, folder).splitlines()) == 13
