"""TextClassifier: raw strings in, labels out."""

import warnings
from collections.abc import Collection, Iterator, Sequence
from os import PathLike
from typing import Any, Self

import keras
import numpy as np
import pandas as pd

from keras_seq.errors import (
    check_choice,
    check_integer,
    check_number,
    suggests_names,
)
from keras_seq.text.baseline import (
    fit_linear,
    linear_probabilities,
    majority_probabilities,
)
from keras_seq.text.batches import (
    Buckets,
    prediction_batches,
    training_batches,
    validation_batches,
)
from keras_seq.text.builder import build_text_classifier
from keras_seq.text.corpus import (
    Corpus,
    check_input,
    check_pairs,
    split_stratified,
    stratified_folds,
)
from keras_seq.text.labels import encode_labels, learn_classes
from keras_seq.text.preprocessing import TextPreprocessor
from keras_seq.text.scores import classification_scores, verdict
from keras_seq.text.sources import Columns, TextFiles, are_file_names
from keras_seq.text.streaming import (
    StreamedTexts,
    count_into,
    encode_texts,
    text_parts,
)
from keras_seq.text.texts import check_texts, check_weights
from keras_seq.training.checkpoint import Checkpoint
from keras_seq.training.distribution import (
    check_divisible,
    distributed,
    on_one_device,
)
from keras_seq.training.estimator import SequenceEstimator
from keras_seq.training.fit import FitResult, fit_model
from keras_seq.training.runtime import resolve_precision

# Texts in memory, or in files.
Texts = Sequence[str] | str | PathLike[str] | Sequence[PathLike[str]]

# Constructor arguments that the builder and the preprocessor take under their names.
_BUILDER_ARGS = (
    "cell",
    "units",
    "num_layers",
    "bidirectional",
    "embedding_dim",
    "pooling",
    "dropout",
    "embedding_dropout",
    "recurrent_dropout",
    "normalization",
    "residual",
    "activation",
    "forget_bias",
    "num_heads",
    "conv_filters",
    "conv_width",
    "auxiliary",
    "auxiliary_weight",
    "learning_rate",
    "global_clipnorm",
    "clipnorm",
    "clipvalue",
    "jit",
    "seed",
)
_PREPROCESSOR_ARGS = ("max_tokens", "split", "max_length", "truncation", "min_count")


class TextClassifier(SequenceEstimator):
    """Classifies texts with a recurrent network.

    Args:
        cell: `"rnn"`, `"lstm"`, `"gru"`, or `"transformer"` to compare with.
        units: Hidden size of each direction, or one per layer.
        num_layers: Layers of the encoder.
        bidirectional: Whether each layer also reads backward; `"auto"` is True.
        embedding_dim: Size of a token's vector.
        pooling: `"max"`, `"mean"`, `"last"`, `"concat"` of the three, or `"attention"`.
        dropout: Rate on embeddings, between layers and before the output. On the
            validation parts of SST-2 and SUBJ 0.5 did better than 0.3, on those of
            SMS spam and of Chinese reviews equally well.
        embedding_dropout: Rate on embeddings alone; None: as `dropout`.
        recurrent_dropout: Rate on the recurrent state.
        normalization: Of each recurrent layer's outputs: `"layer"`, `"batch"` or None.
        residual: Whether each recurrent layer after the first adds its inputs.
        activation: Of the cell; anything but `"tanh"` costs the fast paths.
        forget_bias: Initial bias of the LSTM's forget gate.
        num_heads: Of a transformer; must divide `units`. `"auto"`: 4, 2 or 1.
        conv_filters: Filters of a convolution before the encoder; None: none.
        conv_width: Steps the convolution sees.
        auxiliary: `"next_step"` trains to predict the next token as well.
        auxiliary_weight: Of that loss beside the main one.
        learning_rate: Of Adam.
        global_clipnorm: Limit of the gradient's norm; `"auto"` is 1.0 if no other
            clip is given. The three exclude each other.
        clipnorm: Limit of the norm of each variable's gradient.
        clipvalue: Limit of each element of the gradient.
        max_tokens: Largest vocabulary, padding and unknown included.
        split: `"auto"`: words of spaced scripts, single characters of Chinese,
            Japanese, Korean and other unspaced ones, punctuation by itself;
            `"whitespace"`; `"character"`.
        max_length: Longest text in tokens; `"auto"`: longer than 99.5 % of the
            training texts, at most 512.
        truncation: What of a longer text is kept: `"head"`, `"tail"`, `"head_tail"`.
        min_count: Least number of occurrences of a token in the vocabulary; `"auto"`.
        epochs: Upper limit of passes over the training texts; small sets of long texts
            need more than ten, others stop before.
        batch_size: Texts per step.
        patience: Epochs without improvement on validation before training stops.
        validation_split: Share of the texts held back, stratified by label.
        refit_full: Whether to train again on everything, for as many epochs as were
            best on validation.
        baseline: Whether to fit TF-IDF + logistic regression for comparison.
        precision: `"float32"`, `"mixed_bfloat16"`, `"mixed_float16"` or `"float64"`, in
            which the network computes; None: as Keras is set. Outputs are float32.
        jit: Whether XLA compiles each step; `"auto"`: on JAX, not on TensorFlow.
        distribution: `"auto"` trains on every accelerator, on JAX also those of other
            hosts (see `keras_seq.training.distribution.distributed`); None on one.
        seed: Of split, weights, batches and dropout. 0 is a seed like any other.

    Attributes:
        model_: The Keras model (of `build_text_classifier`).
        classes_: Labels in the order of the probabilities' columns.
        vocabulary_: Tokens by id.
        history_: DataFrame, one row per epoch: losses, metrics, `grad_norm_mean` and
            `grad_norm_max` (L2 norm of all gradients together, before clipping),
            `clipped_fraction` (share of steps that clipping changed), seconds.
        best_epoch_: Epochs after which validation was best.
        validation_: Scores on the validation part, and `baselines`.

    Example:
        >>> clf = TextClassifier(epochs=3)                             # doctest: +SKIP
        >>> clf.fit(["so good", "so bad"], ["pos", "neg"]).predict(["good"])
        array(['pos'], dtype='<U3')                                    # doctest: +SKIP
    """

    @suggests_names
    def __init__(
        self,
        *,
        cell: str = "lstm",
        units: int | Sequence[int] = 64,
        num_layers: int = 1,
        bidirectional: bool | str = "auto",
        embedding_dim: int = 128,
        pooling: str = "max",
        dropout: float = 0.5,
        embedding_dropout: float | None = None,
        recurrent_dropout: float = 0.0,
        normalization: str | None = None,
        residual: bool = False,
        activation: str = "tanh",
        forget_bias: float = 1.0,
        num_heads: int | str = "auto",
        conv_filters: int | None = None,
        conv_width: int = 3,
        auxiliary: str | None = None,
        auxiliary_weight: float = 0.1,
        learning_rate: float = 1e-3,
        global_clipnorm: float | str | None = "auto",
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        max_tokens: int = 20_000,
        split: str = "auto",
        max_length: int | str = "auto",
        truncation: str = "head",
        min_count: int | str = "auto",
        epochs: int = 30,
        batch_size: int = 64,
        patience: int = 2,
        validation_split: float = 0.1,
        refit_full: bool = True,
        baseline: bool = True,
        precision: str | None = None,
        jit: bool | str = "auto",
        distribution: str | None = None,
        seed: int = 0,
    ):
        self.cell = cell
        self.units = units
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.embedding_dim = embedding_dim
        self.pooling = pooling
        self.dropout = dropout
        self.embedding_dropout = embedding_dropout
        self.recurrent_dropout = recurrent_dropout
        self.normalization = normalization
        self.residual = residual
        self.activation = activation
        self.forget_bias = forget_bias
        self.num_heads = num_heads
        self.conv_filters = conv_filters
        self.conv_width = conv_width
        self.auxiliary = auxiliary
        self.auxiliary_weight = auxiliary_weight
        self.learning_rate = learning_rate
        self.global_clipnorm = global_clipnorm
        self.clipnorm = clipnorm
        self.clipvalue = clipvalue
        self.max_tokens = max_tokens
        self.split = split
        self.max_length = max_length
        self.truncation = truncation
        self.min_count = min_count
        self.epochs = epochs
        self.batch_size = batch_size
        self.patience = patience
        self.validation_split = validation_split
        self.refit_full = refit_full
        self.baseline = baseline
        self.precision = precision
        self.jit = jit
        self.distribution = distribution
        self.seed = seed

    def fit(
        self,
        texts: Texts,
        labels: Sequence[Any] | None = None,
        validation_data: tuple[Sequence[str], Sequence[Any]] | Texts | None = None,
        sample_weight: Sequence[float] | None = None,
        callbacks: Sequence[keras.callbacks.Callback] | None = None,
        verbose: int | str = "auto",
        checkpoint: str | PathLike[str] | Checkpoint | None = None,
        *,
        text_col: str = "text",
        label_col: str = "label",
        on_bad_rows: str = "error",
    ) -> Self:
        """Trains on texts and their labels.

        A stratified part decides how many epochs are best; then everything is trained
        on for as many (`refit_full`). With `validation_data` nothing is held back and
        nothing trained again.

        Files are read row by row, again and again, and may be larger than memory. The
        weights are those that the same rows in the same order give as lists. Ids of
        tokens are kept in the folder for temporary files (`TMPDIR`).

        Args:
            texts: Strings; an empty one is a text without tokens. Or the path of a
                table (`.csv`, `.jsonl`, both also with `.gz`, `.parquet`), of a folder
                with a subfolder for each class and a file for each text, or a list of
                such, each a `pathlib.Path`. UTF-8.
            labels: As many; all str, all int or all bool. None beside files. In CSV
                they are whole numbers or booleans if all of them are.
            validation_data: `(texts, labels)` to validate on, or files.
            sample_weight: Weight of each text in the loss; None: 1.
            callbacks: Keras callbacks, for both trainings.
            verbose: 0 is silent; otherwise progress with the time left is shown.
            checkpoint: Folder that makes the fit resumable: after each epoch it holds
                all that the fit needs to go on, and the same call again goes on from
                there, to the same weights as if nothing had happened. When the fit
                has ended its files are removed. What `callbacks` remember is not
                kept. Files of texts are compared by their contents.
            text_col: Column of tables with the texts.
            label_col: Column of tables with the labels.
            on_bad_rows: What to do about rows that cannot be read or have no text or
                no label: `"error"` names the first, `"skip"` warns of their number.

        Raises:
            TypeError, ValueError: If the input breaks a rule; the message names the
                argument and the first rows, or file and line. If `checkpoint` holds
                another fit.
        """
        self._check_arguments()
        self.__dict__.pop("model_", None)  # a fit that fails leaves nothing half done
        columns = Columns(text_col, label_col, on_bad_rows)
        strings, values = check_input(texts, labels, columns=columns)
        weights = check_weights(sample_weight, len(strings))
        self.classes_ = learn_classes(values)
        corpus = Corpus(strings, encode_labels(values, self.classes_), weights)
        self._majority = int(np.bincount(corpus.targets, weights).argmax())
        self.validation_ = {}
        training, held = self._hold_out(corpus, validation_data, columns)
        # As it was given, but for files, of which the contents count.
        data = (
            strings if isinstance(strings, StreamedTexts) else texts,
            labels,
            held.texts if _in_files(validation_data) else validation_data,
            sample_weight,
        )
        kept = Checkpoint.open(checkpoint, self, data)
        manner: dict[str, Any] = {
            "callbacks": callbacks,
            "verbose": verbose,
            "checkpoint": kept,
        }
        result = self._learn(training, held, epochs=self.epochs, title="fit", **manner)
        self.history_, self.best_epoch_ = result.history, result.best_epoch
        self.validation_ = self._score(held.texts, held.targets)
        if verbose:
            print(f"validation: {verdict(self.validation_)}")
        if self.refit_full and validation_data is None:
            del self.model_  # as above
            epochs = self.best_epoch_
            self._learn(corpus, None, epochs=epochs, title="refit", **manner)
        if kept:
            kept.end()
        return self

    def _check_arguments(self) -> None:
        check_integer("epochs", self.epochs, 1)
        check_integer("batch_size", self.batch_size, 1)
        check_integer("patience", self.patience, 1)
        check_integer("seed", self.seed, 0)
        check_number("validation_split", self.validation_split, above=0, below=1)
        check_choice("refit_full", self.refit_full, (True, False))
        check_choice("baseline", self.baseline, (True, False))

    def _hold_out(
        self, corpus: Corpus, given: Any, columns: Columns
    ) -> tuple[Corpus, Corpus]:
        """What to train and what to validate on."""
        in_files = _in_files(given)
        if not in_files and not isinstance(corpus.texts, StreamedTexts):
            columns.refuse()
        if given is None:
            share, seed = self.validation_split, self.seed
            return split_stratified(corpus, self.classes_, share, seed)
        names = ("validation_data[0]", "validation_data[1]")
        if in_files:
            given, names = (given, None), ("validation_data", "validation_data")
        if not isinstance(given, tuple | list) or len(given) != 2:
            raise ValueError(
                "`validation_data` must be a pair, (texts, labels). "
                f"Received: {type(given).__name__}"
            )
        texts, values = check_input(given[0], given[1], names, columns, self.classes_)
        targets = encode_labels(values, self.classes_, names[1])
        return corpus, Corpus(texts, targets, np.ones(len(texts), np.float32))

    def _learn(
        self,
        corpus: Corpus,
        held: Corpus | None,
        *,
        epochs: int,
        callbacks: Sequence[keras.callbacks.Callback] | None,
        verbose: int | str,
        title: str,
        checkpoint: Checkpoint | None,
    ) -> FitResult:
        """Learns vocabulary, network and baseline from one corpus, and it alone."""
        counts = count_into(corpus.texts, self.max_tokens)
        self.preprocessor_ = self._make_preprocessor().fit(corpus.texts, counts)
        self._builder_args = {
            **{name: getattr(self, name) for name in _BUILDER_ARGS},
            "precision": resolve_precision(self.precision),
            "num_classes": len(self.classes_),
            "max_tokens": len(self.preprocessor_.vocabulary_),
        }
        validation = None
        if held is not None:
            shown = self._buckets(held.texts)
            validation = validation_batches(shown, held.targets, held.weights)
        buckets = self._buckets(corpus.texts)
        options = {name: self._builder_args[name] for name in ("precision", "jit")}
        with distributed(self.distribution, **options) as count:
            check_divisible(self.batch_size, count)
            model = self._build_model(**self._builder_args)
            result = fit_model(
                model,
                training_batches(buckets, corpus.targets, corpus.weights, self.seed),
                epochs=epochs,
                seed=self.seed,
                validation=validation,
                # Unlike the loss, it is exact over batches that are not equally full.
                monitor="val_log_loss",
                patience=self.patience,
                callbacks=callbacks,
                verbose=verbose,
                title=title,
                checkpoint=checkpoint,
            )
        self.model_ = on_one_device(
            model, lambda: self._build_model(**self._builder_args), count
        )
        self._linear = None
        if self.baseline:
            self._linear = fit_linear(corpus, self.preprocessor_, self.seed)
        return result

    def _make_preprocessor(self) -> TextPreprocessor:
        return TextPreprocessor(
            **{name: getattr(self, name) for name in _PREPROCESSOR_ARGS}
        )

    def _build_model(self, **arguments: Any) -> keras.Model:
        return build_text_classifier(**arguments)

    def _buckets(self, texts: Collection[str]) -> Buckets:
        rows = encode_texts(self.preprocessor_, texts)
        return Buckets(rows, self.preprocessor_.bucket_lengths_, self.batch_size)

    def predict_proba(
        self, texts: Texts, *, text_col: str = "text", on_bad_rows: str = "error"
    ) -> np.ndarray:
        """Class probabilities.

        Args:
            texts: Strings, or files as `fit` takes them, with or without labels. A
                list of strings is always texts.
            text_col: Column of tables with the texts.
            on_bad_rows: As in `fit`; rows that are skipped are not in the answer.

        Returns:
            float32, `(num_texts, num_classes)`, columns in the order of `classes_`. Of
            a folder: subfolder by subfolder, each in the order of the files' names.
        """
        self._check_fitted()
        columns = Columns(text_col, on_bad_rows=on_bad_rows)
        files = TextFiles.find(texts, columns, labelled=False)
        if files is not None:
            return self._probabilities(StreamedTexts(files))
        columns.refuse()
        if are_file_names(texts):
            warnings.warn(
                "A list of strings is texts, and these look like names of files: give "
                f"each as pathlib.Path to read it. Received: {texts!r:.60}",
                stacklevel=2,
            )
        return self._probabilities(check_texts(texts))  # type: ignore[arg-type]

    def _probabilities(self, texts: Collection[str]) -> np.ndarray:
        token_rows = encode_texts(self.preprocessor_, texts)
        count = len(token_rows.lengths)
        # A few texts need no batch of 256; powers of two keep the shapes few.
        batch_size = min(256, 1 << (count - 1).bit_length())
        buckets = Buckets(token_rows, self.preprocessor_.bucket_lengths_, batch_size)
        result = np.zeros((count, len(self.classes_)), np.float32)
        for rows, inputs in prediction_batches(buckets):
            output = np.asarray(self.model_.predict_on_batch(inputs))
            result[rows] = output[: len(rows)]
        return result

    def predict(
        self, texts: Texts, *, text_col: str = "text", on_bad_rows: str = "error"
    ) -> np.ndarray:
        """The likeliest label of each text, of the type given to `fit`.

        Args:
            texts: As in `predict_proba`, and so the others.
            text_col: Column of tables with the texts.
            on_bad_rows: As in `fit`.
        """
        probabilities = self.predict_proba(
            texts, text_col=text_col, on_bad_rows=on_bad_rows
        )
        return self.classes_[probabilities.argmax(axis=1)]

    def evaluate(
        self,
        texts: Texts,
        labels: Sequence[Any] | None = None,
        *,
        text_col: str = "text",
        label_col: str = "label",
        on_bad_rows: str = "error",
    ) -> dict[str, Any]:
        """Scores predictions beside the baselines.

        Args:
            texts: Strings that `fit` has not seen, or files as `fit` takes them.
            labels: Their labels; None beside files.
            text_col: Column of tables with the texts.
            label_col: Column of tables with the labels.
            on_bad_rows: As in `fit`.

        Returns:
            `accuracy`, `f1_macro`, `f1_per_class`, `log_loss`, `n`, and `baselines`:
            the same of `majority` (the commonest training label) and of
            `tfidf_logreg`. The linear model is not saved: after `load` its entry is
            its score on the validation part of `fit`, marked `"on": "validation"`.
        """
        self._check_fitted()
        columns = Columns(text_col, label_col, on_bad_rows)
        strings, values = check_input(
            texts, labels, columns=columns, classes=self.classes_
        )
        if not isinstance(strings, StreamedTexts):
            columns.refuse()
        return self._score(strings, encode_labels(values, self.classes_))

    def _score(self, texts: Collection[str], targets: np.ndarray) -> dict[str, Any]:
        count, num_classes = len(texts), len(self.classes_)

        def scores(probabilities: np.ndarray) -> dict[str, Any]:
            return classification_scores(targets, probabilities, self.classes_)

        majority = majority_probabilities(self._majority, count, num_classes)
        baselines = {"majority": scores(majority)}
        if self._linear is not None:
            linear = [
                linear_probabilities(self._linear, part, num_classes)
                for part in text_parts(texts)
            ]
            baselines["tfidf_logreg"] = scores(np.concatenate(linear))
        elif "tfidf_logreg" in self.validation_.get("baselines", {}):
            stored = self.validation_["baselines"]["tfidf_logreg"]
            baselines["tfidf_logreg"] = {**stored, "on": "validation"}
        own = scores(self._probabilities(texts))
        return {**own, "n": count, "baselines": baselines}

    def split_folds(
        self, count: int, texts: Sequence[str], labels: Sequence[Any]
    ) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
        """Stratified folds: what `fit` takes for each, and its `validation_data`.

        Args:
            count: Number of folds.
            texts: Strings; copies of one go to one fold.
            labels: Their labels.
        """
        strings, values = check_pairs(texts, labels)
        for rows in stratified_folds(strings, values, count, self.seed):
            kept, held = (
                ([strings[row] for row in part], [values[row] for row in part])
                for part in rows
            )
            yield kept, {"validation_data": held}

    def plot(
        self,
        texts: Sequence[str] | None = None,
        labels: Sequence[Any] | None = None,
        ax: Any = None,
    ) -> Any:
        """Draws the confusion matrix of labelled texts, or how training went.

        Args:
            texts: Strings; None draws the learning curves.
            labels: Their labels.
            ax: Matplotlib axes; None makes them.

        Returns:
            The axes.
        """
        from keras_seq import plotting

        self._check_fitted()
        if texts is None or labels is None:
            return plotting.plot_history(self.history_, ax=ax)
        return plotting.plot_confusion_matrix(
            labels,
            self.predict(texts).tolist(),
            classes=self.classes_.tolist(),
            ax=ax,
        )

    @property
    def vocabulary_(self) -> list[str]:
        """Tokens by id."""
        return self.preprocessor_.vocabulary_

    def _get_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        preprocessor, arrays = self.preprocessor_.get_state()
        state = {
            "preprocessor": preprocessor,
            "classes": self.classes_.tolist(),
            "majority": self._majority,
            "best_epoch": self.best_epoch_,
            "validation": self.validation_,
            "history": self.history_.to_dict(orient="list"),
        }
        return state, arrays

    def _set_state(self, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        preprocessor = self._make_preprocessor()
        self.preprocessor_ = preprocessor.set_state(state["preprocessor"], arrays)
        self.classes_ = np.array(state["classes"])
        self._majority = state["majority"]
        self.best_epoch_ = state["best_epoch"]
        self.validation_ = state["validation"]
        self.history_ = pd.DataFrame(state["history"])
        self._linear = None


def _in_files(given: Any) -> bool:
    """Whether data to validate on are files and no pair of texts and labels."""
    if isinstance(given, list | tuple):
        return bool(given) and all(isinstance(item, PathLike) for item in given)
    return isinstance(given, str | PathLike)
