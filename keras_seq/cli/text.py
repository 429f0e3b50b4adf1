"""`keras-seq text`: classify texts of a table."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keras_seq.cli import options
from keras_seq.cli.options import collect

if TYPE_CHECKING:
    from keras_seq import TextClassifier

app = typer.Typer(help="Classify texts.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def fit(
    data: options.Data,
    output: options.ModelOutput,
    text_col: options.TextCol = "text",
    label_col: options.LabelCol = "label",
    label_sep: options.LabelSep = None,
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
    if label_sep is not None:
        arguments["multi_label"] = True
    frame = read_texts(data, text_col, label_col, label_sep)
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
    label_sep: Annotated[
        str, typer.Option(help="What to put between several labels of a text.")
    ] = ";",
) -> None:
    """Label the texts of a table: its columns, and `prediction`."""
    from keras_seq.cli.tables import check_table_output, read_texts, write_table

    check_table_output(output)
    frame = read_texts(data, text_col, None)
    classifier = _load(model)
    probabilities = classifier.predict_proba(list(frame[text_col]))
    predicted = classifier._choose_labels(probabilities)  # one pass for both
    if classifier.multi_label:
        predicted = [label_sep.join(map(str, labels)) for labels in predicted]
    added = {"prediction": predicted}
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
    label_sep: options.LabelSep = None,
    json: options.AsJson = False,
) -> None:
    """Score a model on labelled texts that it was not trained on."""
    from keras_seq.cli.report import show_scores
    from keras_seq.cli.tables import read_texts

    classifier = _load(model)
    if classifier.multi_label and label_sep is None and data.suffix != ".parquet":
        raise ValueError("--label-sep is missing: the model gives several labels.")
    frame = read_texts(data, text_col, label_col, label_sep)
    labels = frame[label_col]
    if classifier.classes_.dtype.kind == "U":  # "1" is a word if it was one in `fit`
        if classifier.multi_label:
            labels = labels.map(lambda given: [str(label) for label in given])
        else:
            labels = labels.astype(str)
    scores = classifier.evaluate(list(frame[text_col]), list(labels))
    print(show_scores(scores, json))


_COLUMNS = {
    "text_col": options.TextCol,
    "label_col": options.LabelCol,
    "label_sep": options.LabelSep,
}
_ARGUMENTS = {
    "cell": options.Cell,
    "units": options.Units,
    "epochs": options.Epochs,
    "seed": options.Seed,
}


@app.command()
@options.accept(**options.SEARCH, **_COLUMNS, **_ARGUMENTS, settings=options.Settings)
def tune(**given: Any) -> None:
    """Search arguments of the classifier, and save the best model."""
    from keras_seq.cli.backend import import_backend
    from keras_seq.cli.searching import plan_search, search_and_save
    from keras_seq.cli.tables import read_texts

    columns = {"text_col": "text", "label_col": "label", "label_sep": None}
    plan = plan_search(given, columns, _ARGUMENTS)
    text_col, label_col, label_sep = (plan.columns[name] for name in columns)
    frame = read_texts(plan.data, text_col, label_col, label_sep)
    import_backend()
    from keras_seq import TextClassifier

    plan.check_arguments(TextClassifier)
    classifier = TextClassifier(**plan.arguments)
    if label_sep is not None:
        classifier.set_params(multi_label=True)
    texts, labels = list(frame[text_col]), list(frame[label_col])
    search_and_save(classifier, texts, labels, plan=plan)


def _new_classifier(arguments: dict[str, Any]) -> "TextClassifier":
    from keras_seq.cli.backend import import_backend

    import_backend()
    from keras_seq import TextClassifier

    return TextClassifier(**arguments)


def _load(path: Path) -> "TextClassifier":
    from keras_seq.cli.backend import load_model

    return load_model(path, "TextClassifier")
