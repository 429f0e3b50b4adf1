"""`keras-seq forecast`: forecast series of a long table."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keras_seq.cli import options
from keras_seq.cli.options import collect

if TYPE_CHECKING:
    import pandas as pd

    from keras_seq import Forecaster

app = typer.Typer(help="Forecast series.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def fit(
    data: options.Data,
    output: options.ModelOutput,
    horizon: options.Horizon,
    id_col: options.IdCol = "unique_id",
    time_col: options.TimeCol = "ds",
    target_col: options.TargetCol = "y",
    freq: options.Freq = None,
    season_length: options.SeasonLength = None,
    cell: options.Cell = None,
    units: options.Units = None,
    max_steps: options.MaxSteps = None,
    static_covariates: options.StaticCovariates = None,
    past_covariates: options.PastCovariates = None,
    future_covariates: options.FutureCovariates = None,
    seed: options.Seed = None,
    settings: options.Settings = None,
) -> None:
    """Train on a long table of series, and save the model."""
    from keras_seq.cli.tables import check_folder

    check_folder(output)
    arguments = collect(
        settings,
        horizon=horizon,
        freq=freq,
        season_length=season_length,
        cell=cell,
        units=units,
        max_steps=max_steps,
        static_covariates=static_covariates,
        past_covariates=past_covariates,
        future_covariates=future_covariates,
        seed=seed,
    )
    forecaster, frame = _prepare(data, (id_col, time_col, target_col), arguments)
    forecaster.fit(frame)
    forecaster.save(output)
    print(f"saved {output}")


@app.command()
def predict(
    model: options.Model,
    history: Annotated[
        Path | None,
        typer.Argument(
            metavar="[HISTORY]",
            help="Table to forecast after; default: the training data.",
        ),
    ] = None,
    output: options.TableOutput = None,
    future: Annotated[
        Path | None,
        typer.Option(help="Table of the future covariates of the steps to forecast."),
    ] = None,
    horizon: Annotated[
        int | None, typer.Option(help="Steps; default: as many as were trained.")
    ] = None,
    level: Annotated[
        list[float] | None,
        typer.Option(help="Interval to name, in percent; repeatable."),
    ] = None,
) -> None:
    """Forecast the steps after a table of series."""
    from keras_seq.cli.tables import check_table_output, write_table

    check_table_output(output)
    forecaster = _load(model)
    frame = None if history is None else _read_for(forecaster, history)
    known = None if future is None else _read_for(forecaster, future, target=False)
    forecasts = forecaster.predict(frame, known, horizon=horizon, level=level or None)
    write_table(forecasts, output)


@app.command()
def backtest(
    data: options.Data,
    horizon: options.Horizon,
    output: options.TableOutput = None,
    num_windows: Annotated[int, typer.Option(help="Number of cutoffs.")] = 3,
    step_size: Annotated[
        int | None, typer.Option(help="Steps between cutoffs; default: the horizon.")
    ] = None,
    refit: Annotated[
        bool, typer.Option("--refit", help="Train before every cutoff.")
    ] = False,
    id_col: options.IdCol = "unique_id",
    time_col: options.TimeCol = "ds",
    target_col: options.TargetCol = "y",
    freq: options.Freq = None,
    season_length: options.SeasonLength = None,
    cell: options.Cell = None,
    units: options.Units = None,
    max_steps: options.MaxSteps = None,
    static_covariates: options.StaticCovariates = None,
    past_covariates: options.PastCovariates = None,
    future_covariates: options.FutureCovariates = None,
    seed: options.Seed = None,
    settings: options.Settings = None,
) -> None:
    """Forecast the past of a table from rolling cutoffs, beside seasonal naive."""
    from keras_seq.cli.report import format_table
    from keras_seq.cli.tables import check_table_output, write_table

    check_table_output(output)
    arguments = collect(
        settings,
        horizon=horizon,
        freq=freq,
        season_length=season_length,
        cell=cell,
        units=units,
        max_steps=max_steps,
        static_covariates=static_covariates,
        past_covariates=past_covariates,
        future_covariates=future_covariates,
        seed=seed,
    )
    forecaster, frame = _prepare(data, (id_col, time_col, target_col), arguments)
    # Without --output the table goes to stdout, where progress would spoil it.
    verbose = 0 if output is None else "auto"
    windows = forecaster.backtest(frame, num_windows, step_size, refit, verbose)
    write_table(windows, output)
    if output is not None:
        table = forecaster.score_backtest(windows, frame).set_index("model")
        scores = table.drop(columns="n").rename(index={"y_hat": "this model"})
        rows = {
            str(model): {str(name): score for name, score in values.dropna().items()}
            for model, values in scores.iterrows()
        }
        print(format_table(rows))
        print(f"{len(windows):,} rows in {output}")


@app.command()
def evaluate(
    model: options.Model,
    history: Annotated[
        Path,
        typer.Argument(help="Table up to the forecast origins."),
    ],
    future: Annotated[Path, typer.Argument(help="Table of the rows that followed.")],
    json: options.AsJson = False,
) -> None:
    """Score forecasts after a history against what followed."""
    from keras_seq.cli.report import show_scores

    forecaster = _load(model)
    past = _read_for(forecaster, history)
    scores = forecaster.evaluate(past, _read_for(forecaster, future))
    print(show_scores(scores, json))


_COLUMNS = {
    "id_col": options.IdCol,
    "time_col": options.TimeCol,
    "target_col": options.TargetCol,
}
_ARGUMENTS = {
    "horizon": options.Horizon,
    "freq": options.Freq,
    "season_length": options.SeasonLength,
    "cell": options.Cell,
    "units": options.Units,
    "max_steps": options.MaxSteps,
    "static_covariates": options.StaticCovariates,
    "past_covariates": options.PastCovariates,
    "future_covariates": options.FutureCovariates,
    "seed": options.Seed,
}


@app.command()
@options.accept(**options.SEARCH, **_COLUMNS, **_ARGUMENTS, settings=options.Settings)
def tune(**given: Any) -> None:
    """Search arguments of the forecaster, and save the best model."""
    from keras_seq.cli.searching import plan_search, search_and_save

    defaults = {"id_col": "unique_id", "time_col": "ds", "target_col": "y"}
    plan = plan_search(given, defaults, _ARGUMENTS, required=["horizon"])
    columns = (
        plan.columns["id_col"],
        plan.columns["time_col"],
        plan.columns["target_col"],
    )
    forecaster, frame = _prepare(
        plan.data, columns, plan.arguments, plan.check_arguments
    )
    search_and_save(forecaster, frame, plan=plan)


def _prepare(
    data: Path,
    columns: tuple[str, str, str],
    arguments: dict[str, Any],
    check: Callable[[type], None] | None = None,
) -> tuple["Forecaster", "pd.DataFrame"]:
    """Reads the table first: a wrong one is reported before the backend loads."""
    from keras_seq.cli.backend import import_backend
    from keras_seq.cli.tables import read_series

    id_col, time_col, target_col = columns
    frame = read_series(data, id_col or None, time_col, target_col)
    freq = arguments.get("freq")
    if isinstance(freq, str) and freq.isdigit():
        arguments = {**arguments, "freq": int(freq)}
    import_backend()
    from keras_seq import Forecaster

    if check is not None:
        check(Forecaster)
    names = {"id_col": id_col or None, "time_col": time_col, "target_col": target_col}
    return Forecaster(**{**arguments, **names}), frame


def _read_for(
    forecaster: "Forecaster", path: Path, target: bool = True
) -> "pd.DataFrame":
    from keras_seq.cli.tables import read_series

    target_col = forecaster.target_col if target else None
    return read_series(path, forecaster.id_col, forecaster.time_col, target_col)


def _load(path: Path) -> "Forecaster":
    from keras_seq.cli.backend import load_model

    return load_model(path, "Forecaster")
