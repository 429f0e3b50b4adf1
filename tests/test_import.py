"""What an import costs, and that JAX needs no TensorFlow."""

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
HEAVY = ("tensorflow", "jax", "keras", "keras_tuner", "pandas", "sklearn", "matplotlib")


def _run(code: str, **environment: str) -> None:
    """Runs code in a fresh Python, and fails with what it printed."""
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", ["keras_seq", "keras_seq.cli", "keras_seq.errors"])
def test_importing_loads_nothing_heavy(module: str) -> None:
    _run(
        f"import sys, {module}\n"
        f"heavy = [m for m in {HEAVY} if m in sys.modules]\n"
        "assert not heavy, heavy"
    )


@pytest.mark.parametrize(
    "command", ["--help", "--version", "demo --help", "text fit --help"]
)
def test_help_loads_nothing_heavy(command: str) -> None:
    _run(
        "import sys\n"
        "from keras_seq.cli import main\n"
        f"try: main({command.split()})\n"
        "except SystemExit as ended: assert ended.code == 0\n"
        f"heavy = [m for m in {(*HEAVY, 'numpy')} if m in sys.modules]\n"
        "assert not heavy, heavy"
    )


def test_info_needs_no_keras(tmp_path: Path) -> None:
    from keras_seq import artifact

    path = tmp_path / "model.kseq"
    state = {"learned": {"freq_": "MS"}, "tail": {"ids": ["a"]}}
    manifest = {"estimator": "Forecaster", "params": {}, "builder": {}, "state": state}
    artifact.write(path, manifest, {})
    _run(
        "import sys\n"
        "from keras_seq.cli import main\n"
        f"try: main(['info', {str(path)!r}])\n"
        "except SystemExit as ended: assert ended.code == 0\n"
        f"heavy = [m for m in {HEAVY} if m in sys.modules]\n"
        "assert not heavy, heavy"
    )


def test_every_public_name_loads_on_first_use() -> None:
    import keras_seq

    assert set(keras_seq.__all__) <= set(dir(keras_seq))
    for name in keras_seq.__all__:
        assert getattr(keras_seq, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Forecastor'"):
        _ = keras_seq.Forecastor


def test_the_list_for_jax_is_the_dependencies_without_tensorflow() -> None:
    def split(lines: list[str]) -> dict[str, str]:
        names = [re.match(r"[\w-]+", line) for line in lines]
        return {
            match[0]: line[match.end() :].strip()
            for match, line in zip(names, lines, strict=True)
            if match
        }

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["jax"]
    text = (REPOSITORY / "requirements-jax.txt").read_text()
    listed = [line.split(" #")[0] for line in text.splitlines() if line[:1] != "#"]
    expected = {**split(wanted), "six": ""}  # what only TensorFlow brings
    del expected["tensorflow"], expected["tensorboard"]
    assert split(listed) == expected


IMPORT_ALL = """
import importlib, pkgutil, sys
sys.modules["tensorflow"] = None  # every import of it now fails
import keras_seq
found = pkgutil.walk_packages(keras_seq.__path__, "keras_seq.")
names = [module.name for module in found if not module.name.endswith("__main__")]
assert "keras_seq.training.distribution" in names
for name in names:
    importlib.import_module(name)
"""

FIT_BOTH = """
import sys
sys.modules["tensorflow"] = None  # every import of it now fails
import numpy as np, pandas as pd
import keras_seq

texts = [f"{word} number {i}" for i in range(8) for word in ("good", "bad")]
labels = ["up", "down"] * 8
classifier = keras_seq.TextClassifier(units=4, embedding_dim=4, epochs=1)
classifier.fit(texts, labels, verbose=0)
assert set(classifier.predict(texts)) <= {"up", "down"}

steps = np.arange(40)
stamps = pd.date_range("2020-01-01", periods=40, freq="MS")
frame = pd.DataFrame({"unique_id": "a", "ds": stamps, "y": np.sin(steps)})
forecaster = keras_seq.Forecaster(horizon=3, units=4, max_steps=2)
forecasts = forecaster.fit(frame, verbose=0).predict()
assert np.isfinite(forecasts["y_hat"]).all() and len(forecasts) == 3

result = keras_seq.tune(
    forecaster, frame, space={"units": [2, 3]}, max_trials=2, verbose=0
)
assert len(result.trials_) == 2
assert keras_seq.runtime.describe()["backend"] == "jax"
assert sys.modules["tensorflow"] is None
"""


needs_jax = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="needs the extra `jax`"
)


@needs_jax
def test_every_module_loads_without_tensorflow() -> None:
    _run(IMPORT_ALL, KERAS_BACKEND="jax")


@pytest.mark.slow
@needs_jax
def test_both_tasks_and_the_search_run_on_jax_without_tensorflow() -> None:
    _run(FIT_BOTH, KERAS_BACKEND="jax")
