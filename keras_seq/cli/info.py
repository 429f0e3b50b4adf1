"""What a saved model is, from its manifest alone."""

import json
from pathlib import Path
from typing import Any

from keras_seq import artifact
from keras_seq.cli.report import format_table


def describe_model(path: Path, as_json: bool) -> str:
    """The manifest's essentials as text, or all of it as JSON.

    Raises:
        ArtifactError: If the file is no saved model.
        ValueError: If there is no such file.
    """
    if not path.exists():
        raise ValueError(f"There is no file {path}.")
    manifest = artifact.read_manifest(path)
    if as_json:
        return json.dumps(manifest, ensure_ascii=False, indent=1)
    versions = ", ".join(f"{k} {v}" for k, v in manifest["versions"].items())
    facts = {
        "file": f"{path} ({path.stat().st_size / 1e6:.2f} MB)",
        "estimator": manifest["estimator"],
        "written by": versions,
        **_learned(manifest["state"], manifest["builder"]),
        "arguments": _pairs(manifest["params"]),
    }
    width = max(map(len, facts)) + 2
    lines = [f"{name + ':':<{width}}{value}" for name, value in facts.items()]
    scores = _validation(manifest["state"])
    if scores:
        lines += ["on the validation part:", format_table(scores)]
    return "\n".join(lines)


def _learned(state: dict[str, Any], builder: dict[str, Any]) -> dict[str, Any]:
    """What `fit` found out, for either estimator."""
    if "classes" in state:
        classes = state["classes"]
        shown = ", ".join(map(str, classes[:10])) + ", ..." * (len(classes) > 10)
        return {
            "classes": f"{len(classes)}: {shown}",
            "vocabulary": f"{builder['max_tokens']:,} tokens",
        }
    learned = state.get("learned", {})
    names = ("freq", "season_length", "lookback", "calendar", "scaling")
    found = {name: learned[f"{name}_"] for name in names if f"{name}_" in learned}
    return {"series": f"{len(state['tail']['ids']):,}", "learned": _pairs(found)}


def _validation(state: dict[str, Any]) -> dict[str, dict[str, Any]]:
    scores = state.get("validation") or state.get("learned", {}).get("validation_", {})
    rows = {"this model": scores, **scores.get("baselines", {})}
    numbers = {
        row: {k: v for k, v in values.items() if isinstance(v, int | float)}
        for row, values in rows.items()
    }
    return {row: values for row, values in numbers.items() if values}


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())
