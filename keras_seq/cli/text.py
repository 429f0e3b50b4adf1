"""`keras-seq text`: classify texts of a table."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keras_seq.cli import options
from keras_seq.cli.options import collect, parse_pairs

if TYPE_CHECKING:
    from keras_seq import TextClassifier

app = typer.Typer(help="Classify texts.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def fit(
    data: options.Data,
    output: options.ModelOutput,
    text_col: options.TextCol = "text",
    label_col: options.LabelCol = "label",
    cell: options.Cell = None,
    units: options.Units = None,
    epochs: options.Epochs = None,
    seed: options.Seed = None,
    settings: options.Settings = None,
) -> None:
    """Train on a table of texts and labels, and save the model."""
    from keras_seq.cli.tables import check_folder, read_texts

    check_folder(output)
    arguments = collect(settings, cell=cell, units=units, epochs=epochs, seed=seed)
    frame = read_texts(data, text_col, label_col)
    classifier = _new_classifier(arguments)
    classifier.fit(list(frame[text_col]), list(frame[label_col]))
    classifier.save(output)
    print(f"saved {output}")


@app.command()
def predict(
    model: options.Model,
    data: options.Data,
    output: options.TableOutput = None,
    text_col: options.TextCol = "text",
    proba: Annotated[
        bool, typer.Option("--proba", help="Add a column per class.")
    ] = False,
) -> None:
    """Label the texts of a table: its columns, and `prediction`."""
    from keras_seq.cli.tables import check_table_output, read_texts, write_table

    check_table_output(output)
    frame = read_texts(data, text_col, None)
    classifier = _load(model)
    probabilities = classifier.predict_proba(list(frame[text_col]))
    added = {"prediction": classifier.classes_[probabilities.argmax(axis=1)]}
    if proba:
        for column, name in enumerate(classifier.classes_):
            added[f"proba_{name}"] = probabilities[:, column]
    taken = [name for name in added if name in frame]
    if taken:
        raise ValueError(f"{data} already has a column {taken[0]!r}.")
    write_table(frame.assign(**added), output)


@app.command()
def evaluate(
    model: options.Model,
    data: options.Data,
    text_col: options.TextCol = "text",
    label_col: options.LabelCol = "label",
    json: options.AsJson = False,
) -> None:
    """Score a model on labelled texts that it was not trained on."""
    from keras_seq.cli.report import show_scores
    from keras_seq.cli.tables import read_texts

    frame = read_texts(data, text_col, label_col)
    classifier = _load(model)
    labels = frame[label_col]
    if classifier.classes_.dtype.kind == "U":  # "1" is a word if it was one in `fit`
        labels = labels.astype(str)
    scores = classifier.evaluate(list(frame[text_col]), list(labels))
    print(show_scores(scores, json))


@app.command()
def tune(
    data: options.Data,
    output: options.ModelOutput,
    text_col: options.TextCol = "text",
    label_col: options.LabelCol = "label",
    vary: options.Vary = None,
    algorithm: options.Algorithm = "bayesian",
    objective: options.Objective = None,
    max_trials: options.MaxTrials = 20,
    max_seconds: options.MaxSeconds = None,
    max_trial_seconds: options.MaxTrialSeconds = None,
    max_trial_mb: options.MaxTrialMb = None,
    executor: options.Executor = 1,
    directory: options.Directory = None,
    cell: options.Cell = None,
    units: options.Units = None,
    epochs: options.Epochs = None,
    seed: options.Seed = None,
    settings: options.Settings = None,
) -> None:
    """Search arguments of the classifier, and save the best model."""
    from keras_seq.cli.searching import search_and_save
    from keras_seq.cli.tables import check_folder, read_texts

    check_folder(output)
    arguments = collect(settings, cell=cell, units=units, epochs=epochs, seed=seed)
    space = parse_pairs(vary, "--vary") or None
    frame = read_texts(data, text_col, label_col)
    search_and_save(
        _new_classifier(arguments),
        list(frame[text_col]),
        list(frame[label_col]),
        output=output,
        space=space,
        algorithm=algorithm,
        objective=objective,
        max_trials=max_trials,
        max_seconds=max_seconds,
        max_trial_seconds=max_trial_seconds,
        max_trial_mb=max_trial_mb,
        executor=executor,
        directory=directory,
    )


def _new_classifier(arguments: dict[str, Any]) -> "TextClassifier":
    from keras_seq.cli.backend import import_backend

    import_backend()
    from keras_seq import TextClassifier

    return TextClassifier(**arguments)


def _load(path: Path) -> "TextClassifier":
    from keras_seq.cli.backend import load_model

    return load_model(path, "TextClassifier")
