"""The pages say what is true: they build, their examples run, their names exist."""

import inspect
import os
import re
import shlex
import subprocess
import sys
import warnings
import zlib
from importlib import import_module
from pathlib import Path

import pytest

import keras_seq
from keras_seq import (
    Forecaster,
    TextClassifier,
    build_forecaster,
    build_text_classifier,
    layers,
    tune,
)

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
SHOWN = [page for page in PAGES if "```python" in page.read_text("utf-8")]


def _blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text("utf-8"), re.DOTALL)


def _name(page: Path) -> str:
    return str(page.relative_to(DOCS))


@pytest.mark.exhaustive
@pytest.mark.parametrize("page", SHOWN, ids=_name)
def test_examples_of_a_page_run_in_their_order(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = "\n".join(_blocks(page, "python"))
    with warnings.catch_warnings():
        # Small data, so that pages are quick, have what `fit` warns of.
        warnings.simplefilter("default", UserWarning)
        exec(compile(source, _name(page), "exec"), {"__name__": "__main__"})


@pytest.mark.exhaustive
def test_the_commands_of_the_command_line_page_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = DOCS / "howto" / "command-line.md"
    for source in _blocks(page, "python"):
        exec(compile(source, _name(page), "exec"), {})
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for command in "".join(_blocks(page, "sh")).splitlines():
        _, *arguments = shlex.split(command)
        done = subprocess.run(
            [sys.executable, "-m", "keras_seq.cli", *arguments],
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
    written = {path.name for path in tmp_path.iterdir()}
    named = set(re.findall(r"[\w.]+\.(?:kseq|csv|json|png)", page.read_text("utf-8")))
    assert written >= named


def _known(thing) -> set[str]:
    """Arguments of a function, or of a class and of its methods, and their names."""
    if not inspect.isclass(thing):
        return set(inspect.signature(thing).parameters)
    methods = {name: getattr(thing, name) for name in dir(thing) if name[0] != "_"}
    called = [thing.__init__, *filter(inspect.isfunction, methods.values())]
    return set(methods).union(*(inspect.signature(f).parameters for f in called))


def test_every_argument_that_the_ideas_name_exists():
    of_layers = {name: getattr(layers, name) for name in layers.__all__}
    homes = {
        "C": _known(TextClassifier),
        "F": _known(Forecaster),
        "bC": _known(build_text_classifier),
        "bF": _known(build_forecaster),
        "L": set().union(*map(_known, of_layers.values())),
        "`tune`": _known(tune),
    }
    page = (DOCS / "ideas.md").read_text("utf-8")
    rows = re.findall(r"^\| [^|]+ \| ([^|]+) \| ([^|]+) \| [^|]*\|$", page, re.M)
    checked = 0
    for told, where in rows:
        if told.startswith("always"):
            continue
        names = re.findall(r"`([a-z_]+)[(=`]", told)
        known = [homes[home] for home in where.split() if home in homes]
        for name in names if known else ():
            assert name in set().union(*known), (name, where)
        if len(names) == 1:  # of several, some are the builders' alone
            assert all(names[0] in each for each in known), (names[0], where)
        checked += len(names)
    assert checked > 60


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_page_is_in_the_navigation(page):
    assert f": {_name(page)}\n" in (ROOT / "mkdocs.yml").read_text("utf-8")


def _public() -> list[str]:
    """Everything that is public, by the name under which it is defined."""
    found = []
    modules = ("datasets", "diagnostics", "export", "layers", "numpy_runtime")
    for name in keras_seq.__all__:
        if name in modules:
            module = import_module(f"keras_seq.{name}")
            found += [getattr(module, entry) for entry in module.__all__]
        elif name != "runtime":
            found.append(getattr(keras_seq, name))
    found += [keras_seq.runtime.describe, keras_seq.runtime.compute_path]
    made = [entry for entry in found if callable(entry)]  # not a tuple of names
    return [f"{entry.__module__}.{entry.__qualname__}" for entry in made]


@pytest.mark.slow
def test_the_site_builds_strictly_with_everything_public(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    packed = (tmp_path / "objects.inv").read_bytes().split(b"\n", 4)[4]
    listed = {line.split()[0] for line in zlib.decompress(packed).decode().splitlines()}
    assert set(_public()) <= listed
    for page in tmp_path.rglob("*.html"):
        assert not re.findall(
            r'(?:src|<link[^>]* href)="(?:https?:)?//[^"]*"', page.read_text("utf-8")
        ), page.name  # nothing is loaded from elsewhere
