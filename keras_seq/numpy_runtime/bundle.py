"""write_bundle: the runtime and a small command line as one Python file."""

import ast
import json
import re
from importlib.util import find_spec
from os import PathLike
from pathlib import Path

import keras_seq
from keras_seq import artifact
from keras_seq.files import replace_file

# Those after the first are imported within functions: where a session is asked for, and
# where pandas frames are given, or its time steps needed.
_ROOTS = (
    "keras_seq.numpy_runtime.command_line",
    "keras_seq.streaming.opening",
    "keras_seq.streaming.opening_text",
    "keras_seq.forecasting.panel",
)
_PACKAGE = "_keras_seq_runtime"  # the name that the bundled sources have
_HEADER = '''"""{title}

One file that needs NumPy alone: the runtime of keras_seq {version}.

    python {name} model.kseq --help
    python -c "import {stem}; print({stem}.load('model.kseq').predict(...))"

Written by keras_seq.numpy_runtime.write_bundle; do not edit.
"""

import importlib.abc
import importlib.util
import json
import sys

SOURCES = json.loads({sources})


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the modules among the sources of this file."""

    def find_spec(self, name, path=None, target=None):
        if name not in SOURCES:
            return None
        package = SOURCES[name][0]
        return importlib.util.spec_from_loader(name, self, is_package=package)

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        source = SOURCES[module.__name__][1]
        origin = f"{{__file__}}:{{module.__name__}}"
        exec(compile(source, origin, "exec"), module.__dict__)


if not any(type(finder).__qualname__ == "_Finder" and finder.__module__ == __name__
           for finder in sys.meta_path):
    sys.meta_path.append(_Finder())

from {package}.numpy_runtime.loading import load  # noqa: E402, F401

if __name__ == "__main__":
    from {package}.numpy_runtime.command_line import main

    sys.exit(main())
'''


def write_bundle(
    artifact_path: str | PathLike[str], out_path: str | PathLike[str]
) -> None:
    """Writes the runtime as one Python file that needs NumPy alone.

    `python out.py model.kseq` predicts from the command line, and `import out` has
    `out.load`, whose models have `predict` and `stream`. The file holds no model: it
    runs every artefact of its version.

    Args:
        artifact_path: A saved model, of which is checked that the runtime runs it.
        out_path: Where to write; an existing file is replaced, whole or not at all.

    Raises:
        ArtifactError: If the runtime does not run that model.
        FileNotFoundError: If there is no such file.
    """
    from keras_seq.numpy_runtime.loading import load

    manifest = artifact.read_manifest(artifact_path)
    functions = {name: str.split for name in manifest.get("functions", {})}
    load(artifact_path, **functions)
    out = Path(out_path)
    text = _HEADER.format(
        title=f"Predicts with a saved {manifest['estimator']} and others.",
        version=keras_seq.__version__,
        name=out.name,
        stem=out.stem,
        package=_PACKAGE,
        sources=_quote(json.dumps(collect_sources(), ensure_ascii=True, indent=0)),
    )
    with replace_file(out) as file:
        file.write(text.encode())


def collect_sources() -> dict[str, tuple[bool, str]]:
    """The modules that the runtime imports: whether each is a package, and its text.

    Imports within functions are left out: they are of what training needs.
    """
    found: dict[str, tuple[bool, str]] = {}
    waiting = [*_ROOTS]
    while waiting:
        name = waiting.pop()
        bundled = _PACKAGE + name.removeprefix("keras_seq")
        if bundled in found:
            continue
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            continue  # a function or class of a module that is taken already
        package = spec.submodule_search_locations is not None
        source = Path(spec.origin).read_text(encoding="utf-8")
        found[bundled] = package, _rename(source)
        parent = name.rpartition(".")[0]
        waiting += [*_imports(source), *([parent] if parent else [])]
    return dict(sorted(found.items()))


def _imports(source: str) -> list[str]:
    """Modules of keras_seq that a module imports as it loads."""
    names: list[str] = []
    for node in ast.parse(source).body:  # not what stands under TYPE_CHECKING
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module)
            if _is_package(node.module):  # from keras_seq import artifact
                names += [f"{node.module}.{alias.name}" for alias in node.names]
    return [name for name in names if name.partition(".")[0] == "keras_seq"]


def _is_package(name: str) -> bool:
    if name.partition(".")[0] != "keras_seq":
        return False
    spec = find_spec(name)
    return spec is not None and spec.submodule_search_locations is not None


def _rename(source: str) -> str:
    """The same source as a module of the bundled package."""
    source = re.sub(
        r"^(\s*)import keras_seq$",
        rf"\1import {_PACKAGE} as keras_seq",
        source,
        flags=re.MULTILINE,
    )
    return re.sub(
        r"^(\s*(?:from|import) )keras_seq\b",
        rf"\1{_PACKAGE}",
        source,
        flags=re.MULTILINE,
    )


def _quote(text: str) -> str:
    """A Python literal that reads well in a long file."""
    return 'r"""' + text + '"""' if '"""' not in text else repr(text)
