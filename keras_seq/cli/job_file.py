"""A search as a file: what `tune --job` reads, checked key by key."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from keras_seq.errors import did_you_mean

FILES = ("data", "output", "report")
SECTIONS = ("estimator", "space", "tune")
TUNE = (
    "algorithm",
    "objective",
    "max_trials",
    "max_seconds",
    "max_trial_seconds",
    "max_trial_mb",
    "folds",
    "num_seeds",
    "executor",
    "resources",
    "directory",
    "seed",
)


@dataclass(frozen=True)
class JobFile:
    """What a job file says; empty where it says nothing.

    Attributes:
        path: The file, for messages.
        files: `data`, `output` and `report`, relative to the working directory.
        columns: Column names by key, such as `text_col`.
        estimator: Arguments of the estimator.
        space: What to vary, as `keras_seq.tune` takes it.
        tune: Arguments of `keras_seq.tune`.
    """

    path: Path | None = None
    files: dict[str, Path] = field(default_factory=dict)
    columns: dict[str, Any] = field(default_factory=dict)
    estimator: dict[str, Any] = field(default_factory=dict)
    space: dict[str, Any] = field(default_factory=dict)
    tune: dict[str, Any] = field(default_factory=dict)


def read_job_file(
    path: Path, columns: Collection[str], flags: Collection[str]
) -> JobFile:
    """Reads a job file.

    Example::

        data: sales.csv
        output: sales.kseq
        estimator: {horizon: 12, max_steps: 300}
        space:
          units: [32, 64]                              # one of these
          dropout: {low: 0.0, high: 0.5}               # any number between
          global_clipnorm: {low: 0.1, high: 10, log: true}
        tune: {max_trials: 40, executor: 4, directory: search}

    Args:
        path: A YAML file.
        columns: Keys that name columns.
        flags: Some arguments of the estimator, to tell where a key belongs. Whether
            the estimator has the others is only known once it is imported.

    Raises:
        ValueError: If it is no such file; naming file and key.
    """
    top = (*FILES, *columns, *SECTIONS)
    content = _section(path, "The file", _read_yaml(path))
    homes = {
        "at the top level": top,
        "under `estimator`": flags,
        "under `tune`": TUNE,
    }
    _check_keys(path, "at the top level", content, homes)
    sections = {
        name: _section(path, f"`{name}`", content.get(name)) for name in SECTIONS
    }
    tune = sections["tune"]
    _check_keys(path, "under `tune`", tune, homes)
    if tune.get("directory") is not None:
        _text(path, "tune.directory", tune["directory"])
    if "resources" in tune:
        _section(path, "`tune.resources`", tune["resources"])
    for name in columns:
        if name in sections["estimator"]:
            raise ValueError(
                f"{path}: {name!r} belongs at the top level, not under `estimator`."
            )
    texts = {
        name: _text(path, name, content[name])
        for name in (*FILES, *columns)
        if content.get(name) is not None
    }
    if "id_col" in columns and "id_col" in content and content["id_col"] is None:
        texts["id_col"] = ""  # a single series, as on the command line
    return JobFile(
        path,
        {name: Path(texts[name]) for name in FILES if name in texts},
        {name: texts[name] for name in columns if name in texts},
        sections["estimator"],
        {
            name: _limits(path, name, limits)
            for name, limits in sections["space"].items()
        },
        tune,
    )


def check_estimator_keys(job: JobFile, valid: Sequence[str]) -> None:
    """Raises for a key of `estimator` or `space` that the estimator does not have."""
    if job.path is None:
        return
    for where, given in (
        ("under `estimator`", job.estimator),
        ("under `space`", job.space),
    ):
        _check_keys(job.path, where, given, {where: valid, "under `tune`": TUNE})


def _check_keys(
    path: Path,
    where: str,
    given: Mapping[str, Any],
    homes: Mapping[str, Collection[str]],
) -> None:
    for name in given:
        if name in homes[where]:
            continue
        others = [place for place, names in homes.items() if name in names]
        hint = did_you_mean(name, homes[where])
        if others:
            hint = f" It belongs {' or '.join(others)}."
        raise ValueError(
            f"{path}: there is no key {name!r} {where}.{hint} "
            f"There are: {', '.join(homes[where])}."
        )


def _section(path: Path, what: str, content: Any) -> dict[str, Any]:
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(
        isinstance(key, str) for key in content
    ):
        raise ValueError(
            f"{path}: {what} must consist of lines `key: value`. Received: {content!r}"
        )
    return content


def _text(path: Path, name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(
            f"{path}: `{name}` must be text, in quotes if it looks like something "
            f"else. Received: {value!r}"
        )
    return value


def _limits(path: Path, name: str, limits: Any) -> list[Any] | tuple[Any, ...]:
    """What `tune` takes for a list of values, or a range."""
    if isinstance(limits, list) and limits:
        return limits
    if isinstance(limits, dict):
        where = f"under `space.{name}`"
        _check_keys(path, where, limits, {where: ("low", "high", "log")})
        log = limits.get("log", False)
        if len(limits.keys() - {"log"}) == 2 and isinstance(log, bool):
            ends = (limits["low"], limits["high"])
            return (*ends, "log") if log else ends
    raise ValueError(
        f"{path}: `space.{name}` must be a list of values, such as [32, 64], or a "
        "range, such as {low: 0.1, high: 10} or {low: 0.1, high: 10, log: true}. "
        f"Received: {limits!r}"
    )


class _Loader(yaml.SafeLoader):
    """Safe YAML that knows 1e-3 for a number and refuses a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Any:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag.endswith(":merge"):
                continue
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"{key.value!r} is given twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


# PyYAML follows YAML 1.1, where 1e-3 is text for want of a dot; YAML 1.2 mended it.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def _read_yaml(path: Path) -> Any:
    if path.is_dir():
        raise ValueError(f"{path} is a folder.")
    if not path.exists():
        raise ValueError(f"There is no file {path}.")
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8: {error.reason}.") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = "" if mark is None else f", line {mark.line + 1}"
        raise ValueError(f"{path}{line}: {error.problem}.") from error
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no YAML: {error}") from error
    except ValueError as error:  # such as a date that no calendar has
        raise ValueError(f"{path} has a value that makes no sense: {error}.") from error
