"""export_model: a fitted estimator for other runtimes, checked as it is written."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module, util
from os import PathLike
from pathlib import Path
from typing import Any

import keras

from keras_seq import artifact
from keras_seq.errors import check_choice, check_integer, did_you_mean
from keras_seq.export import manifest as manifests
from keras_seq.export.plan import Plan, Run, check_plan
from keras_seq.export.replacing import replaced_paths
from keras_seq.training.estimator import SequenceEstimator

# Network precisions whose exports give the same numbers.
_EXACT = (None, "float32")


@dataclass(frozen=True)
class Target:
    """Where an export goes.

    Attributes:
        write: `write(plan, path, ...)` makes the file or folder.
        open: `open(plan, path)` loads it in its own runtime.
        runtime: Names that runtime with its version.
        packages: Distributions that must be installed, by the names they import as.
        options: Arguments of `export_model` that it knows, with their defaults.
        folder: Whether it is a folder.
        graph: Whether it starts from a TensorFlow graph.
    """

    write: Callable[..., None]
    open: Callable[[Plan, Path], Run]
    runtime: Callable[[], str]
    packages: dict[str, str]
    options: dict[str, Any]
    folder: bool = False
    graph: bool = True


TARGETS = ("keras", "savedmodel", "onnx", "litert", "numpy")


def _target(name: str) -> Target:
    """Its modules are imported now, and the packages that they need."""
    if name == "keras":
        from keras_seq.export import keras_file as k

        parts = k.write_keras, k.run_keras_file, k.keras_runtime
        return Target(*parts, {}, {}, graph=False)
    if name == "savedmodel":
        from keras_seq.export import savedmodel as s

        saved = s.write_savedmodel, s.run_savedmodel, s.savedmodel_runtime
        return Target(*saved, {}, {}, folder=True)
    if name == "onnx":
        from keras_seq.export import onnx_file as o

        needed = {"onnx": "onnx", "tf2onnx": "tf2onnx", "onnxruntime": "onnxruntime"}
        found = o.write_onnx, o.run_onnx, o.onnx_runtime
        return Target(*found, needed, {"opset": o.OPSET})
    from keras_seq.export import litert as lite

    needed = {"ai-edge-litert": "ai_edge_litert"}
    options: dict[str, Any] = {"batch_size": 1, "steps": None}
    ways = lite.write_litert, lite.run_litert, lite.litert_runtime
    return Target(*ways, needed, options)


def export_model(
    model: Any, target: str, out: str | PathLike[str], **options: Any
) -> dict[str, Any]:
    """Writes a fitted estimator for another runtime.

    The export is run in that runtime on samples before it is put in place, and its
    answers are compared with those of `predict`.

    Args:
        model: A fitted `TextClassifier` or `Forecaster`, or the path of a saved one.
        target: `"keras"`: the network as a `.keras` file, for `keras.models.load_model`
            after `import keras_seq.export`. `"savedmodel"`: a folder for TensorFlow;
            texts in, labels and probabilities out, or raw windows in, quantiles out.
            `"onnx"`: tokens in, probabilities out, with the vocabulary in files
            beside, or raw windows in, quantiles out; of a stateful classifier its
            states as well. `"litert"`: for LiteRT with its own operators alone: one
            token and the states before it in, or raw windows. A stateful forecaster
            goes to all of them as one value and the states before it in, quantiles and
            the states after it out. `"numpy"`: for
            `keras_seq.numpy_runtime`.
        out: Where to write, a file, and for `"savedmodel"` a folder. An export that
            is there is replaced whole. The manifest is `<out>.json`, and in a folder
            `manifest.json`.
        options: Of `"onnx"`: `opset`, 17. Of `"litert"`: `batch_size`, rows at a time,
            1; `steps`, tokens of a text that is read as a whole, for networks that
            cannot be given one token at a time.

    Returns:
        The manifest: inputs and outputs with names, types, shapes and units, labels
        or quantiles, versions, and under `"check"` how far the export is from
        `predict`.

    Raises:
        ValueError: If the target cannot express what was fitted, or needs another
            backend; nothing is written.
        ModuleNotFoundError: If the target's packages are not installed.
        RuntimeError: If the export answers otherwise than `predict`; nothing is
            written.
    """
    check_choice("target", target, TARGETS)
    place = Path(out)
    _check_place(place, folder=target == "savedmodel")
    if target == "numpy":
        return _export_numpy(model, place, options)
    kind = _target(target)
    given = _check_options(target, kind, options)
    _check_backend(target, kind)
    _check_packages(target, kind.packages)
    estimator = _load(model)
    if kind.graph:
        _check_precision(estimator, target)
    plan = _plan(estimator, target, given)
    used = {name: given[name] for name in given if name == "opset"}
    manifest = manifests.make_manifest(
        target, type(estimator).__name__, given, tuple(kind.packages), plan
    )
    with replaced_paths(place) as folder:
        written = folder / place.name
        kind.write(plan, written, **used)
        with _exact_products():
            difference = check_plan(plan, kind.open(plan, written))
        manifest["check"] = {
            "against": "the estimator's predictions",
            "runtime": kind.runtime(),
            **difference,
        }
        files = _write_companions(plan, written)
        if not kind.folder:
            manifest["files"] = manifests.digest_files([written, *files])
        beside = folder / f"{place.name}{manifests.BESIDE}"
        where = written / manifests.IN_FOLDER if kind.folder else beside
        return manifests.write_manifest(where, manifest)


def _plan(estimator: Any, target: str, options: dict[str, Any]) -> Plan:
    if type(estimator).__name__ == "TextClassifier":
        from keras_seq.export import text

        if target == "keras":
            return text.plan_network(estimator)
        if target == "savedmodel":
            return text.plan_texts(estimator)
        if target == "onnx":
            return text.plan_tokens(estimator)
        if options["steps"] is None:
            return text.plan_step(estimator, options["batch_size"])
        return text.plan_tokens(estimator, options["steps"], options["batch_size"])
    from keras_seq.export import series, streams

    stateful = estimator.stateful
    if target == "keras":
        plan = streams.plan_stream_network if stateful else series.plan_network
        return plan(estimator)
    if target != "litert":
        plan = streams.plan_stream if stateful else series.plan_windows
        return plan(estimator)
    if options["steps"] is not None:
        raise ValueError(
            "`steps` belongs to texts; the steps of a window are its lookback. "
            f"Received: steps={options['steps']!r}"
        )
    if stateful:
        return streams.plan_stream(estimator, options["batch_size"])
    return series.plan_windows(estimator, options["batch_size"], unroll=True)


def _load(model: Any) -> Any:
    if isinstance(model, str | PathLike):
        return artifact.load(model)
    if not isinstance(model, SequenceEstimator):
        raise TypeError(
            "`model` must be a TextClassifier, a Forecaster or the path of a saved "
            f"one. Received: model={model!r}"
        )
    model._check_fitted()
    return model


def _check_place(place: Path, folder: bool) -> None:
    if not place.parent.is_dir():
        raise ValueError(f"There is no folder {place.parent}. Received: out={place}")
    if not place.is_dir():
        return
    if not folder:
        raise ValueError(f"`out` must be a file, and is a folder. Received: {place}")
    if any(place.iterdir()) and not manifests.is_export(place):
        raise ValueError(
            "`out` must be a new folder, an empty one or an earlier export, for what "
            f"is there is replaced. Received: {place}"
        )


def _check_options(
    target: str, kind: Target, options: dict[str, Any]
) -> dict[str, Any]:
    for name in options:
        if name not in kind.options:
            known = ", ".join(kind.options) or "none"
            raise TypeError(
                f"The target {target!r} has no option {name!r}."
                f"{did_you_mean(name, kind.options)} It takes: {known}."
            )
    given = {**kind.options, **options}
    for name, value in given.items():
        if value is not None or kind.options[name] is not None:
            check_integer(name, value, 1)
    return given


def _check_backend(target: str, kind: Target) -> None:
    backend = keras.backend.backend()
    if kind.graph and backend != "tensorflow":
        raise ValueError(
            f"The target {target!r} needs TensorFlow, which is not the backend of this "
            "process: save the model, and export the file where KERAS_BACKEND is "
            f"'tensorflow'. Received: backend {backend!r}"
        )


def _check_packages(target: str, packages: dict[str, str]) -> None:
    missing = [name for name, module in packages.items() if not _installed(module)]
    if missing:
        raise ModuleNotFoundError(
            f"The target {target!r} needs {', '.join(missing)}: "
            "pip install 'keras-seq[export]'."
        )


def _installed(module: str) -> bool:
    return util.find_spec(module) is not None


@contextmanager
def _exact_products() -> Iterator[None]:
    """Keeps a GPU from rounding what is multiplied, as TensorFlow lets it."""
    if keras.backend.backend() != "tensorflow":
        yield
        return
    from tensorflow import config

    before = config.experimental.tensor_float_32_execution_enabled()
    config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        config.experimental.enable_tensor_float_32_execution(before)


def _check_precision(estimator: Any, target: str) -> None:
    built = estimator._builder_args
    precisions = {own.get("precision") for own in built.get("members", [built])}
    for precision in precisions - set(_EXACT):
        raise ValueError(
            f"`precision` must be 'float32' for the target {target!r}, since other "
            "runtimes round half precision otherwise, or do not have it. "
            f"Received: precision={precision!r}"
        )


def _write_companions(plan: Plan, written: Path) -> list[Path]:
    files = []
    for ending, content in plan.companions.items():
        path = written.with_name(f"{written.name}{ending}")
        path.write_bytes(content)
        files.append(path)
    return files


def _export_numpy(model: Any, place: Path, options: dict[str, Any]) -> dict[str, Any]:
    """`write_bundle` reads a saved file, so that nothing of Keras is asked."""
    if options:
        raise TypeError(f"The target 'numpy' has no options. Received: {[*options]}")
    write_bundle = import_module("keras_seq.numpy_runtime.bundle").write_bundle
    with tempfile.TemporaryDirectory() as folder:
        saved: Any = model
        if not isinstance(model, str | PathLike):
            saved = Path(folder) / "model.kseq"
            _load(model).save(saved)
        name = artifact.read_manifest(saved)["estimator"]
        with replaced_paths(place) as beside:
            written = beside / place.name
            write_bundle(saved, written)
            manifest = manifests.make_manifest("numpy", name, {}, (), None)
            if written.is_file():
                manifest["files"] = manifests.digest_files([written])
            where = beside / f"{place.name}{manifests.BESIDE}"
            return manifests.write_manifest(where, manifest)
