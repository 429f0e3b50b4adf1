"""The search that `text tune` and `forecast tune` share."""

import inspect
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_seq.cli.job_file import TUNE, JobFile, check_estimator_keys, read_job_file
from keras_seq.cli.options import collect, parse_pairs
from keras_seq.cli.tables import check_folder


@dataclass(frozen=True)
class Plan:
    """What a search is to do.

    Attributes:
        data: The table.
        output: Where the model goes.
        report: Where the report goes.
        columns: Column names by option, and what else says how to read them.
        arguments: Of the estimator.
        tune: Arguments of `keras_seq.tune`.
        job: What the job file said, for messages.
    """

    data: Path
    output: Path
    report: Path
    columns: dict[str, Any]
    arguments: dict[str, Any]
    tune: dict[str, Any]
    job: JobFile

    def check_arguments(self, estimator: type) -> None:
        """Raises for a key of the job file that is no argument of the estimator."""
        check_estimator_keys(self.job, list(inspect.signature(estimator).parameters))


def plan_search(
    given: Mapping[str, Any],
    columns: Mapping[str, str | None],
    flags: Collection[str],
    required: Collection[str] = (),
) -> Plan:
    """Puts the command line over the job file, argument by argument.

    Args:
        given: What was typed; None where nothing was.
        columns: Options that say how to read the columns, and their defaults.
        flags: Options that are arguments of the estimator.
        required: Those of them that must be given.

    Raises:
        ValueError: If something is missing, unknown, or cannot be written.
    """
    job = JobFile()
    if given["job"] is not None:
        job = read_job_file(given["job"], columns, flags)
    typed = {name: value for name, value in given.items() if value is not None}
    arguments = {
        **job.estimator,
        **collect(given["settings"], **{name: given[name] for name in flags}),
    }
    files = {**job.files, **typed}
    _check_given(files, "data", "DATA", "`data`")
    _check_given(files, "output", "--output", "`output`")
    for name in required:
        _check_given(arguments, name, f"--{name}", f"`{name}` under `estimator`")
    output = files["output"]
    report = files.get("report", output.with_suffix(".search.json"))
    check_folder(output)
    check_folder(report, "--report")
    if report.suffix != ".json":
        raise ValueError(f"--report must end in .json. Received: {report}")
    space = {**job.space, **parse_pairs(given["vary"], "--vary")}
    return Plan(
        files["data"],
        output,
        report,
        {
            name: typed.get(name, job.columns.get(name, columns[name]))
            for name in columns
        },
        arguments,
        {
            **job.tune,
            # --seed is the estimator's, which the search takes over below.
            **{name: typed[name] for name in TUNE if name in typed and name != "seed"},
            **({"space": space} if space else {}),
        },
        job,
    )


def search_and_save(estimator: Any, *data: Any, plan: Plan) -> None:
    """Searches, and saves the refitted winner and a report.

    The search has the estimator's seed unless the job file gives it another.
    """
    from keras_seq import tune
    from keras_seq.tuning.report import write_report

    result = tune(estimator, *data, **{"seed": estimator.seed, **plan.tune})
    result.best_estimator_.save(plan.output)
    written = write_report(result, plan.report)
    found = ", ".join(
        f"{name}={value}"
        for name, value in result.best_params_.items()
        if value is not None
    )
    print(f"best {result.objective} {result.best_score_:.4g}: {found}")
    print(f"saved {plan.output}")
    print(f"wrote {' and '.join(map(str, written))}")


def _check_given(
    where: Mapping[str, Any], name: str, option: str, in_the_file: str
) -> None:
    if name not in where:
        raise ValueError(
            f"{option} is missing: type it, or give {in_the_file} in a job file "
            "(--job)."
        )
