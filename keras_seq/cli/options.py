"""Options that several commands share, and how their values are read."""

import ast
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

Command = TypeVar("Command", bound=Callable[..., None])

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

# The help names the defaults, since `tune` learns them only after its job file.
TextCol = Annotated[
    str,
    typer.Option(help="Column with the texts; default: text.", show_default=False),
]
LabelCol = Annotated[
    str,
    typer.Option(help="Column with the labels; default: label.", show_default=False),
]
LabelSep = Annotated[
    str | None,
    typer.Option(
        help="What separates the labels of a text, such as ';', where it may have "
        "several or none: makes multi_label=true.",
        show_default=False,
    ),
]
IdCol = Annotated[
    str,
    typer.Option(
        help="Column with the series' names, '' if there is one series; default: "
        "unique_id.",
        show_default=False,
    ),
]
TimeCol = Annotated[
    str,
    typer.Option(
        help="Column with stamps or whole numbers; default: ds.", show_default=False
    ),
]
TargetCol = Annotated[
    str, typer.Option(help="Column to forecast; default: y.", show_default=False)
]

Horizon = Annotated[int, typer.Option(help="Steps to forecast.")]
Freq = Annotated[
    str | None, typer.Option(help="Time step, such as h, D, MS; default: inferred.")
]
SeasonLength = Annotated[int | None, typer.Option(help="Steps in a season.")]
Cell = Annotated[str | None, typer.Option(help="rnn, lstm or gru.")]
Units = Annotated[int | None, typer.Option(help="Hidden size.")]
Epochs = Annotated[int | None, typer.Option(help="Upper limit of epochs.")]
MaxSteps = Annotated[int | None, typer.Option(help="Upper limit of training steps.")]
StaticCovariates = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Column that belongs to a series; repeatable."),
]
PastCovariates = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Column known up to now; repeatable."),
]
FutureCovariates = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Column known ahead; repeatable."),
]
Seed = Annotated[int | None, typer.Option(help="Of all randomness.")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Any other argument of the estimator; repeatable.",
    ),
]


def parse_executor(value: str) -> int | str:
    """A number of worker processes, or `ray`."""
    if value == "ray":
        return value
    try:
        return int(value)
    except ValueError:
        raise typer.BadParameter(
            f"a number of worker processes or 'ray' is needed. Received: {value!r}"
        ) from None


SEARCH = {
    "data": Annotated[
        Path | None,
        typer.Argument(help="Table: .csv, .csv.gz or .parquet."),
    ],
    "job": Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.yaml",
            help="File with any of these settings; what is typed here wins over it.",
        ),
    ],
    "output": ModelOutput,
    "report": Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json",
            help="Where to write what was tried, with a figure (*.png) beside it; "
            "default: OUTPUT with the suffix .search.json.",
        ),
    ],
    "vary": Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=LIMITS",
            help="Argument to search: [32, 64] chooses, (0.0, 0.5) or "
            "(0.1, 10.0, 'log') is a range; repeatable. Default: what usually matters.",
        ),
    ],
    "algorithm": Annotated[
        str | None,
        typer.Option(help="bayesian, random, hyperband or grid; default: bayesian."),
    ],
    "objective": Annotated[
        str | None, typer.Option(help="Validation score to search by.")
    ],
    "max_trials": Annotated[
        int | None, typer.Option(help="Trials in all; default: 20.")
    ],
    "max_seconds": Annotated[
        float | None, typer.Option(help="No trial starts later than this.")
    ],
    "max_trial_seconds": Annotated[
        float | None, typer.Option(help="A trial that takes longer is stopped.")
    ],
    "max_trial_mb": Annotated[
        float | None, typer.Option(help="A worker that takes more memory is stopped.")
    ],
    "folds": Annotated[
        int | None,
        typer.Option(help="Validation parts that score a trial; default: 1."),
    ],
    "num_seeds": Annotated[
        int | None, typer.Option(help="Seeds that score a trial; default: 1.")
    ],
    "executor": Annotated[
        Any,
        typer.Option(
            parser=parse_executor,
            metavar="N|ray",
            help="Number of worker processes, or a Ray cluster; default: 1.",
        ),
    ],
    "directory": Annotated[
        Path | None, typer.Option(help="Folder that makes the search resumable.")
    ],
}


def accept(**options: Any) -> Callable[[Command], Command]:
    """Gives a command that takes `**given` these options; None: not given.

    So two commands can share a list of options, which typer reads from signatures.
    """
    parameters = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=a
        )
        for name, a in options.items()
    ]

    def decorate(command: Command) -> Command:
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return command

    return decorate


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
    # A repeatable option that was not given is an empty list.
    given = {name: value for name, value in flags.items() if value not in (None, [])}
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
