"""Options that several commands share, and how their values are read."""

import ast
import json
from pathlib import Path
from typing import Annotated, Any

import typer

Model = Annotated[Path, typer.Argument(help="A saved model.")]
Data = Annotated[Path, typer.Argument(help="Table: .csv, .csv.gz or .parquet.")]
ModelOutput = Annotated[
    Path, typer.Option("--output", "-o", help="Where to save the model (*.kseq).")
]
TableOutput = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Where to write the table; default: print."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print scores as JSON.")]

TextCol = Annotated[str, typer.Option(help="Column with the texts.")]
LabelCol = Annotated[str, typer.Option(help="Column with the labels.")]
IdCol = Annotated[
    str, typer.Option(help="Column with the series' names; '' if there is one series.")
]
TimeCol = Annotated[str, typer.Option(help="Column with stamps or whole numbers.")]
TargetCol = Annotated[str, typer.Option(help="Column to forecast.")]

Horizon = Annotated[int, typer.Option(help="Steps to forecast.")]
Freq = Annotated[
    str | None, typer.Option(help="Time step, such as h, D, MS; default: inferred.")
]
SeasonLength = Annotated[int | None, typer.Option(help="Steps in a season.")]
Cell = Annotated[str | None, typer.Option(help="rnn, lstm or gru.")]
Units = Annotated[int | None, typer.Option(help="Hidden size.")]
Epochs = Annotated[int | None, typer.Option(help="Upper limit of epochs.")]
MaxSteps = Annotated[int | None, typer.Option(help="Upper limit of training steps.")]
Seed = Annotated[int | None, typer.Option(help="Of all randomness.")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Any other argument of the estimator; repeatable.",
    ),
]

Vary = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=LIMITS",
        help="Argument to search: [32, 64] chooses, (0.0, 0.5) or "
        "(0.1, 10.0, 'log') is a range; repeatable. Default: units, layers, dropout, "
        "clipping.",
    ),
]
Algorithm = Annotated[str, typer.Option(help="bayesian or random.")]
Objective = Annotated[str | None, typer.Option(help="Validation score to search by.")]
MaxTrials = Annotated[int, typer.Option(help="Trials in all.")]
MaxSeconds = Annotated[
    float | None, typer.Option(help="No trial starts later than this.")
]
MaxTrialSeconds = Annotated[
    float | None, typer.Option(help="A trial that takes longer is stopped.")
]
MaxTrialMb = Annotated[
    float | None, typer.Option(help="A worker that takes more memory is stopped.")
]
Executor = Annotated[int, typer.Option(help="Number of worker processes.")]
Directory = Annotated[
    Path | None, typer.Option(help="Folder that makes the search resumable.")
]


def parse_pairs(pairs: list[str] | None, option: str) -> dict[str, Any]:
    """Reads `name=value` pairs; values are JSON, Python literals, or else text.

    Raises:
        ValueError: If a pair has no `=`, or a name is given twice.
    """
    parsed: dict[str, Any] = {}
    for pair in pairs or []:
        name, equals, value = pair.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name:
            raise ValueError(f"{option} takes NAME=VALUE. Received: {pair!r}")
        if name in parsed:
            raise ValueError(f"{option} gives {name!r} twice.")
        parsed[name] = _parse_value(value.strip())
    return parsed


def collect(settings: list[str] | None, **flags: Any) -> dict[str, Any]:
    """Estimator arguments from `--set` and from the flags that were given.

    Raises:
        ValueError: If an argument is given by both.
    """
    arguments = parse_pairs(settings, "--set")
    given = {name: value for name, value in flags.items() if value is not None}
    twice = sorted(arguments.keys() & given.keys())
    if twice:
        flag = twice[0].replace("_", "-")
        raise ValueError(f"{twice[0]!r} is given by --set and by --{flag}.")
    return {**arguments, **given}


def _parse_value(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        pass
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value
