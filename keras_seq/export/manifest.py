"""The manifest beside each export."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

import keras_seq
from keras_seq.artifact import package_version
from keras_seq.export.plan import Plan

FORMAT = "keras_seq export"
FORMAT_VERSION = 1
# In a folder, and behind the name of a file.
IN_FOLDER, BESIDE = "manifest.json", ".json"

_PACKAGES = ("keras", "tensorflow", "numpy")


def make_manifest(
    target: str,
    estimator: str,
    options: dict[str, Any],
    packages: tuple[str, ...],
    plan: Plan | None,
) -> dict[str, Any]:
    """What is known before the export is written.

    Args:
        target: Name of the target.
        estimator: Name of the class.
        options: Of the target.
        packages: Whose versions matter besides.
        plan: None where the target plans by itself.
    """
    ports = {}
    if plan is not None:
        ports = {
            "inputs": {name: port.describe() for name, port in plan.inputs.items()},
            "outputs": {name: port.describe() for name, port in plan.outputs.items()},
            **plan.facts,
        }
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "target": target,
        "estimator": estimator,
        "options": options,
        **ports,
        "versions": {
            "keras_seq": keras_seq.__version__,
            **{name: package_version(name) for name in (*_PACKAGES, *packages)},
        },
    }


def digest_files(paths: list[Path]) -> dict[str, str]:
    """SHA-256 of files by their name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def write_manifest(path: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """Writes it as JSON, and returns it as JSON has it."""
    text = json.dumps(
        manifest, ensure_ascii=False, allow_nan=False, indent=1, default=_plain
    )
    path.write_text(text + "\n", encoding="utf-8")
    return dict(json.loads(text))


def is_export(path: Path) -> bool:
    """Whether a folder was written by `export_model`."""
    try:
        found = json.loads((path / IN_FOLDER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("format") == FORMAT


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else str(value)
