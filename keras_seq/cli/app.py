"""The command line's root: its commands, and how it reports bad input."""

import dis
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

import keras_seq
from keras_seq.cli import export, forecast, options, text

app = typer.Typer(
    name="keras-seq",
    help="Text classification and time-series forecasting with recurrent networks.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(text.app, name="text")
app.add_typer(forecast.app, name="forecast")
app.command()(export.export)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command; bad input ends in one line on stderr and exit code 2.

    Args:
        arguments: As typed after `keras-seq`; None: those of this process.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        app(given, prog_name="keras-seq")
    except (ValueError, TypeError, OSError) as error:
        if "--debug" in given or not _is_ours(error):
            raise
        _report(error)
        sys.exit(2)
    except (FloatingPointError, RuntimeError) as error:
        if "--debug" in given or not _is_ours(error):
            raise
        _report(error)
        sys.exit(1)


def _is_ours(error: Exception) -> bool:
    """Whether a `raise` of our own code raised it, or a path is at fault.

    Anything that Keras, pandas, NumPy or Python raise within is a bug of ours and
    keeps its traceback.
    """
    if isinstance(error, OSError):
        return error.filename is not None
    trace = error.__traceback__
    if trace is None:
        return False
    while trace.tb_next is not None:
        trace = trace.tb_next
    code = trace.tb_frame.f_code
    package = Path(keras_seq.__file__).parent
    by_raise = code.co_code[trace.tb_lasti] == dis.opmap["RAISE_VARARGS"]
    return by_raise and Path(code.co_filename).is_relative_to(package)


def _report(error: Exception) -> None:
    message = str(error)
    if isinstance(error, OSError) and error.strerror:
        message = f"{error.strerror}: {error.filename}"
    lines = (" ".join(line.split()) for line in message.splitlines())
    print("keras-seq: " + "; ".join(line for line in lines if line), file=sys.stderr)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"keras-seq {keras_seq.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version."
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error.")
    ] = False,
) -> None:
    # `main` reads --debug itself: it must also hold for errors in parsing.
    pass


@app.command()
def info(
    model: options.Model,
    json: Annotated[
        bool, typer.Option("--json", help="Print the whole manifest as JSON.")
    ] = False,
) -> None:
    """Tell what a saved model is, without loading it."""
    from keras_seq.cli.info import describe_model

    print(describe_model(model, as_json=json))


@app.command()
def demo(
    output: Annotated[
        Path, typer.Option(help="Folder for models, forecasts and figures.")
    ] = Path("demo-output"),
) -> None:
    """Train both tasks on the data that ship, and show scores beside baselines."""
    from keras_seq.cli.backend import import_backend

    import_backend()
    from keras_seq.demo import run_demo

    run_demo(output)
