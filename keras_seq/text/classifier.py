"""TextClassifier: raw strings in, labels out."""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import keras
import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils import Tags

from keras_seq.errors import check_integer, check_number, suggests_names
from keras_seq.text import saving
from keras_seq.text.arguments import (
    check_arguments,
    describe_split,
    language_arguments,
    language_compiling,
    make_preprocessor,
    read_vectors,
    shared_arguments,
)
from keras_seq.text.baseline import Baselines, majority
from keras_seq.text.batches import Buckets, predict_rows
from keras_seq.text.calibration import apply_temperature, fit_temperature
from keras_seq.text.chunks import ChunkedBuckets
from keras_seq.text.corpus import Corpus, stratified_folds, take_texts
from keras_seq.text.ensemble import average, build_member
from keras_seq.text.fitting import (
    Trained,
    hold_out,
    prepare,
    train,
    train_on,
    warn_of_seen,
    weigh_by_class,
)
from keras_seq.text.inputs import (
    Texts,
    check_input,
    check_pairs,
    check_unlabelled,
)
from keras_seq.text.labels import (
    check_class_weight,
    encode,
    learn_classes,
    learn_listed_classes,
)
from keras_seq.text.normalization import Split
from keras_seq.text.origin import Origin, find_origin
from keras_seq.text.preprocessing import TokenRows
from keras_seq.text.pretraining import (
    LANGUAGE_RATE,
    check_pretrainable,
    train_language_model,
)
from keras_seq.text.scores import score_probabilities, verdict
from keras_seq.text.shares import Say, set_say, weigh_heads
from keras_seq.text.sources import Columns
from keras_seq.text.streaming import StreamedTexts, hash_texts
from keras_seq.text.texts import check_weights
from keras_seq.text.thresholds import choose_thresholds, decide
from keras_seq.training.checkpoint import Checkpoint
from keras_seq.training.ensemble import join_histories
from keras_seq.training.estimator import SequenceEstimator

if TYPE_CHECKING:
    from keras_seq.streaming import TextSession


class TextClassifier(ClassifierMixin, SequenceEstimator):
    """Classifies texts with a recurrent network.

    Args:
        cell: `"rnn"`, `"lstm"`, `"gru"`, or `"transformer"` to compare with.
        units: Hidden size of each direction, or one per layer.
        num_layers: Layers of the encoder.
        bidirectional: Whether each layer also reads backward; `"auto"` is True, and
            False if `stateful`.
        embedding_dim: Size of a token's vector; `"auto"`: 128, or that of `embeddings`.
        embeddings: File of word vectors to start from: `.vec` or `.txt` (fastText,
            word2vec, GloVe), or `.npy` with its words beside it in a `.vocab` file.
            None: random ones, to which naive Bayes is added.
        pooling: `"max"`, `"mean"`, `"last"`, `"concat"` of the three, or `"attention"`.
        dropout: Rate on embeddings, between layers and before the output. On the
            validation parts of SST-2 and SUBJ 0.5 did better than 0.3, on those of
            SMS spam and of Chinese reviews equally well.
        embedding_dropout: Rate on embeddings alone; None: as `dropout`.
        word_dropout: Share of the tokens whose embeddings are left out in training.
        recurrent_dropout: Rate on the recurrent state.
        normalization: Of each recurrent layer's outputs: `"layer"`, `"batch"` or None.
        residual: Whether each recurrent layer after the first adds its inputs.
        activation: Of the cell; anything but `"tanh"` costs the fast paths.
        forget_bias: Initial bias of the LSTM's forget gate.
        memory_steps: In its place, of LSTM and GRU: the longest time, in steps, that
            units keep their state at first (`keras_seq.layers.ChronoBias`); for cues
            far back. None: none is set.
        num_heads: Of a transformer; must divide `units`. `"auto"`: 4, 2 or 1.
        conv_filters: Filters of a convolution before the encoder; None: none.
        conv_width: Steps the convolution sees.
        ngrams: Longest run of tokens in a bag of their vectors beside the recurrence,
            with a softmax of its own; the answer is the mean of the two, each with a
            temperature of its own, weighted as is best on validation. The bag starts
            from naive Bayes. 0: no bag; `"auto"`: 2, and 0 if `stateful`.
        ngram_dim: Size of the vectors in the bag; `"auto"`: 8 up to eight classes, then
            16, from seventeen on 32.
        ngram_buckets: Number of vectors that all runs of one length share; `"auto"`:
            262,144 of 8 numbers, or as many numbers in fewer vectors.
        ngram_dropout: Share of tokens and runs that the bag leaves out in training.
        ngram_length: Longest text in tokens that the bag reads, if that is more than
            `max_length`.
        multi_label: Whether a text has a list of labels, which may be empty. Each
            label is then decided by itself, by a threshold with the largest F1 on the
            validation part.
        label_smoothing: Share of a target that is spread over all classes in the loss;
            no score knows of it.
        adversarial: Norm by which training moves a text's embeddings to where its loss
            rises most, over their own norm; the loss there is added to `loss`. Steps
            take about three times as long. Near 0.05; 0: none. Not with `stateful`.
        auxiliary: `"next_step"` trains to predict the next token as well.
        auxiliary_weight: Of that loss beside the main one.
        stateful: Whether texts are read in chunks with the state carried from one to
            the next (truncated backpropagation through time): memory is that of a
            chunk, however long a text is.
        chunk_length: Tokens of a chunk.
        chunk_loss: `"last"`: the loss is that at the last chunk of each text;
            `"every"`: the mean of those at all of its chunks.
        learning_rate: Of Adam.
        global_clipnorm: Limit of the gradient's norm; `"auto"` is 1.0 if no other
            clip is given. The three exclude each other.
        clipnorm: Limit of the norm of each variable's gradient.
        clipvalue: Limit of each element of the gradient.
        ema: Momentum of a moving average of the weights, such as 0.99, which is what is
            validated and kept; None: the weights themselves are.
        max_tokens: Largest vocabulary, padding and unknown included.
        split: `"auto"`: words of spaced scripts, single characters of Chinese,
            Japanese, Korean and other unspaced ones, punctuation by itself;
            `"whitespace"`; `"character"`; or a function from a normalised text to its
            tokens, such as `jieba.lcut`. A function is not saved: `load` takes it.
        max_length: Longest text in tokens that the recurrence reads; `"auto"`: longer
            than 99.5 % of the training texts, at most 512; if `stateful`, any.
        truncation: What of a longer text is kept: `"head"`, `"tail"`, `"head_tail"`.
        min_count: Least number of occurrences of a token in the vocabulary; `"auto"`.
        epochs: Upper limit of passes over the training texts; small sets of long texts
            need more than ten, others stop before.
        batch_size: Texts per step.
        patience: Epochs without improvement on validation before training stops.
        class_weight: Factors of the texts' weights: `"balanced"` makes classes weigh
            the same, n / (num_classes * count) in the training texts; or
            `{label: weight}`, 1 for those left out. None: all texts weigh the same.
            Training, early stopping and the TF-IDF baseline know of it; the scores
            count every text alike. Not with `multi_label`, where thresholds do it.
        validation_split: Share of the texts held back, stratified by label.
        warm_start: Whether `fit` goes on from the weights, the vocabulary and the
            classes of the `fit` before it. Texts that these have learned from validate
            nothing: give `validation_data`, or new texts alone. `fit` warns if it
            holds some of them back.
        refit_full: Whether to train again on everything, for as many epochs as were
            best on validation.
        ensemble: Number of networks, which differ in first weights, batches and dropout
            alone; the probabilities are the mean of theirs, and all that follows
            from validation is that of the mean. Time and size are as many times those
            of one.
        calibration: `"temperature"`: probabilities are p^(1/T), made to sum to one,
            with the T that lowers the log loss on the validation part most, so that
            they are as sure as they are right; T is 1 unless it lowers it clearly. The
            likeliest label stays. None: as the network gives them.
        baseline: Whether to fit TF-IDF + logistic regression for comparison.
        precision: `"float32"`, `"mixed_bfloat16"`, `"mixed_float16"` or `"float64"`, in
            which the network computes; None: as Keras is set. Outputs are float32.
        jit: Whether XLA compiles each step; `"auto"`: on JAX, not on TensorFlow.
        distribution: `"auto"` trains on every accelerator, on JAX also those of other
            hosts (see `keras_seq.training.distribution.distributed`); None on one.
        seed: Of split, weights, batches and dropout. 0 is a seed like any other.

    Attributes:
        model_: The Keras model (of `build_text_classifier`; of an `ensemble` one whose
            layers `member_1` and so on are such models).
        classes_: Labels in the order of the probabilities' columns.
        vocabulary_: Tokens by id.
        history_: DataFrame, one row per epoch: losses, metrics, `grad_norm_mean` and
            `grad_norm_max` (L2 norm of all gradients together, before clipping),
            `clipped_fraction` (share of steps that clipping changed), seconds. Of an
            ensemble member by member, counted from 1 in `member`.
        best_epoch_: Epochs after which validation was best; a list of an ensemble's.
        thresholds_: With `multi_label`, the probability from which on a text is given
            each label; 0.5 where no validation text has it. Else None.
        temperature_: T of `calibration`; 1.0: nothing is changed.
        validation_: Scores on the validation part, as of `evaluate`, and
            `ece_uncalibrated`. `log_loss` and `ece` are those of the calibrated
            probabilities, a little too good for T was chosen there, and so were
            `thresholds_`; `val_log_loss` of `history_`, by which training stops, is
            the network's own.
        report_: What was trained and validated on, in numbers: lengths, truncated and
            unknown shares, copies, class counts (`TextReport`). `fit` warns of what
            stands out.

    Example:
        >>> clf = TextClassifier(epochs=3)                             # doctest: +SKIP
        >>> clf.fit(["so good", "so bad"], ["pos", "neg"]).predict(["good"])
        array(['pos'], dtype='<U3')                                    # doctest: +SKIP
    """

    _unsaved_params = ("split",)
    # Hashes of the texts that the weights have learned from; None: nobody knows.
    _seen: np.ndarray | None = None

    @suggests_names
    def __init__(
        self,
        *,
        cell: str = "lstm",
        units: int | Sequence[int] = 64,
        num_layers: int = 1,
        bidirectional: bool | str = "auto",
        embedding_dim: int | str = "auto",
        embeddings: str | PathLike[str] | None = None,
        pooling: str = "max",
        dropout: float = 0.5,
        embedding_dropout: float | None = None,
        word_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        normalization: str | None = None,
        residual: bool = False,
        activation: str = "tanh",
        forget_bias: float = 1.0,
        memory_steps: int | None = None,
        num_heads: int | str = "auto",
        conv_filters: int | None = None,
        conv_width: int = 3,
        ngrams: int | str = "auto",
        ngram_dim: int | str = "auto",
        ngram_buckets: int | str = "auto",
        ngram_dropout: float = 0.3,
        ngram_length: int = 2048,
        multi_label: bool = False,
        label_smoothing: float = 0.0,
        adversarial: float = 0.0,
        auxiliary: str | None = None,
        auxiliary_weight: float = 0.1,
        stateful: bool = False,
        chunk_length: int = 256,
        chunk_loss: str = "last",
        learning_rate: float = 1e-3,
        global_clipnorm: float | str | None = "auto",
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        ema: float | None = None,
        max_tokens: int = 20_000,
        split: Split = "auto",
        max_length: int | str = "auto",
        truncation: str = "head",
        min_count: int | str = "auto",
        epochs: int = 30,
        batch_size: int = 64,
        patience: int = 2,
        class_weight: str | Mapping[Any, float] | None = None,
        validation_split: float = 0.1,
        warm_start: bool = False,
        refit_full: bool = True,
        ensemble: int = 1,
        calibration: str | None = "temperature",
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
        self.embeddings = embeddings
        self.pooling = pooling
        self.dropout = dropout
        self.embedding_dropout = embedding_dropout
        self.word_dropout = word_dropout
        self.recurrent_dropout = recurrent_dropout
        self.normalization = normalization
        self.residual = residual
        self.activation = activation
        self.forget_bias = forget_bias
        self.memory_steps = memory_steps
        self.num_heads = num_heads
        self.conv_filters = conv_filters
        self.conv_width = conv_width
        self.ngrams = ngrams
        self.ngram_dim = ngram_dim
        self.ngram_buckets = ngram_buckets
        self.ngram_dropout = ngram_dropout
        self.ngram_length = ngram_length
        self.multi_label = multi_label
        self.label_smoothing = label_smoothing
        self.adversarial = adversarial
        self.auxiliary = auxiliary
        self.auxiliary_weight = auxiliary_weight
        self.stateful = stateful
        self.chunk_length = chunk_length
        self.chunk_loss = chunk_loss
        self.learning_rate = learning_rate
        self.global_clipnorm = global_clipnorm
        self.clipnorm = clipnorm
        self.clipvalue = clipvalue
        self.ema = ema
        self.max_tokens = max_tokens
        self.split = split
        self.max_length = max_length
        self.truncation = truncation
        self.min_count = min_count
        self.epochs = epochs
        self.batch_size = batch_size
        self.patience = patience
        self.class_weight = class_weight
        self.validation_split = validation_split
        self.warm_start = warm_start
        self.refit_full = refit_full
        self.ensemble = ensemble
        self.calibration = calibration
        self.baseline = baseline
        self.precision = precision
        self.jit = jit
        self.distribution = distribution
        self.seed = seed

    def fit(
        self,
        texts: Texts,
        labels: Sequence[Any] | None = None,
        validation_data: tuple[Any, Sequence[Any]] | Texts | None = None,
        sample_weight: Sequence[float] | None = None,
        callbacks: Sequence[keras.callbacks.Callback] | None = None,
        verbose: int | str = "auto",
        checkpoint: str | PathLike[str] | Checkpoint | None = None,
        *,
        text_col: str = "text",
        label_col: str = "label",
        label_sep: str | None = None,
        on_bad_rows: str = "error",
    ) -> Self:
        """Trains on texts and their labels.

        A stratified part decides how many epochs are best; then everything is trained
        on for as many (`refit_full`). With `validation_data` nothing is held back and
        nothing trained again.

        Files are read row by row, once for the labels and once for the tokens of each
        training, and may be larger than memory: ids of tokens are kept in the folder
        for temporary files (`TMPDIR`), 4 to 6 bytes each. The weights are those that
        the same rows in the same order give as lists.

        Args:
            texts: Strings; an empty one is a text without tokens. Or the path of a
                table (`.csv`, `.jsonl`, both also with `.gz`, `.parquet`), of a folder
                with a subfolder for each class and a file for each text (files beside
                the subfolders have no class and are left out), or a list of such, each
                a `pathlib.Path`. UTF-8.
            labels: As many; all str, all int or all bool; a categorical column counts
                as its values. With `multi_label` a list, tuple or set of str or int
                for each text. None beside files; in CSV labels are whole numbers or
                booleans if all of them are.
            validation_data: `(texts, labels)` to validate on, or files.
            sample_weight: Weight of each text in the loss; None: 1. `class_weight`
                multiplies it.
            callbacks: Keras callbacks, for both trainings.
            verbose: 0 is silent; otherwise progress with the time left is shown.
            checkpoint: Folder that makes the fit resumable: after each epoch it holds
                all that the fit needs to go on, and the same call again goes on from
                there, to the same weights as if nothing had happened. When the fit
                has ended its files are removed. What `callbacks` remember is not
                kept. Files of texts are compared by their contents.
            text_col: Column of tables with the texts.
            label_col: Column of tables with the labels; with `multi_label` they are
                lists in JSON lines and Parquet.
            label_sep: With `multi_label`, what stands between labels in a cell of CSV.
            on_bad_rows: What to do about rows that cannot be read or have no text or
                no label: `"error"` names the first, `"skip"` warns of their number.

        Raises:
            TypeError, ValueError: If the input breaks a rule; the message names the
                argument and the first rows, or file and line. If `checkpoint` holds
                another fit.
        """
        check_arguments(self)
        columns = Columns(text_col, label_col, label_sep, on_bad_rows)
        strings, values = check_input(
            texts, labels, columns=columns, multi_label=self.multi_label
        )
        weights = check_weights(sample_weight, len(strings))
        # A fit that fails leaves nothing half done, and what it went on from as it was.
        before = dict(self.__dict__)
        warm = self.warm_start and hasattr(self, "model_")
        try:
            if not warm:
                learn = learn_listed_classes if self.multi_label else learn_classes
                self.classes_ = learn(values)
            check_class_weight(self.class_weight, self.classes_)
            origin = find_origin(self, warm)
            self.__dict__.pop("model_", None)
            corpus = Corpus(strings, self._encode(values), weights)
            self._baselines = Baselines(majority(corpus.targets, weights))
            self.validation_: dict[str, Any] = {}
            training, held = hold_out(self, corpus, validation_data, columns)
            if warm and validation_data is None:
                warn_of_seen(held, self._seen)
            # As it was read: whatever it was given as, of files the contents count.
            shown = None if validation_data is None else held[:2]
            data = strings, values, shown, weights, origin
            kept = Checkpoint.open(checkpoint, self, data)
            manner: dict[str, Any] = {
                "origin": origin,
                "callbacks": callbacks,
                "verbose": verbose,
                "checkpoint": kept,
            }
            given = validation_data is not None
            say = self._learn(training, held, given, **manner)
            if self.refit_full and not given:
                del self.model_
                self._refit(corpus, say, **manner)
                training = corpus
            self._note_seen(training, warm)
        except BaseException:
            self.__dict__.pop("model_", None)
            if warm:
                self.__dict__.update(before)
            raise
        if kept:
            kept.end()
        return self

    def _learn(
        self,
        training: Corpus,
        held: Corpus,
        given: bool,
        *,
        origin: Origin,
        verbose: int | str,
        **manner: Any,
    ) -> list[Say]:
        """Trains for as long as validation improves, and tells how good that is.

        Args:
            training: To train on.
            held: To validate on.
            given: Whether it was given, and not drawn.
            origin: What the networks go on from.
            verbose: As in `fit`, and so the others.
            manner: Callbacks and checkpoint.

        Returns:
            Of each network that has several heads, what they have to say.
        """
        self.preprocessor_ = make_preprocessor(self)
        rows, held_rows, self.report_ = prepare(
            self.preprocessor_, training, held, self.classes_, origin.vocabulary
        )
        if verbose:
            print(self.report_.summary())
        self.report_.warn(self.get_params(deep=False), given)
        epochs = [self.epochs] * self.ensemble
        manner |= {"origin": origin, "verbose": verbose, "title": "fit"}
        trained = train(self, training, rows, held, held_rows, epochs=epochs, **manner)
        self._take_over(trained)
        self.history_ = join_histories([result.history for result in trained.results])
        best = [result.best_epoch for result in trained.results]
        self.best_epoch_: int | list[int] = best[0] if len(best) == 1 else best
        say = weigh_heads(self.model_, self._buckets(held_rows, 256), held)
        self.validation_ = self._validate(held, held_rows)
        if verbose:
            print(f"validation: {verdict(self.validation_)}")
        return say

    def _refit(
        self, corpus: Corpus, say: list[Say], *, origin: Origin, **manner: Any
    ) -> None:
        """Trains on everything, for as long as was best on validation."""
        self.preprocessor_ = make_preprocessor(self)
        rows = self.preprocessor_.fit_transform(corpus.texts, origin.vocabulary)
        epochs = np.atleast_1d(self.best_epoch_).tolist()
        manner |= {"origin": origin, "title": "refit"}
        self._take_over(train(self, corpus, rows, epochs=epochs, **manner))
        set_say(self.model_, say)

    def _note_seen(self, corpus: Corpus, more: bool) -> None:
        """Notes what the weights have learned from, beside what they had before."""
        if more and self._seen is None:
            return
        before = [self._seen] if more else []
        self._seen = np.unique(np.concatenate([*before, hash_texts(corpus.texts)]))

    def __getstate__(self) -> dict[str, Any]:
        """Python's hashes of texts are others in another process."""
        return {**super().__getstate__(), "_seen": None}

    def _take_over(self, trained: Trained) -> None:
        self.model_, self._builder_args = trained.model, trained.arguments
        self._baselines.linear = trained.linear

    def _validate(self, held: Corpus, rows: TokenRows) -> dict[str, Any]:
        """Calibrates on texts that the network has not seen, and scores it there.

        Temperature and thresholds weigh texts as training does, by `sample_weight`, but
        know no `class_weight`: probabilities are to be those of the texts as they come.
        """
        _, targets, weights = held
        raw = self._raw_probabilities(rows)
        self.temperature_ = 1.0
        if self.calibration:
            self.temperature_ = fit_temperature(raw, targets, weights, self.multi_label)
        calibrated = apply_temperature(raw, self.temperature_, self.multi_label)
        self.thresholds_: np.ndarray | None = None
        if self.multi_label:
            self.thresholds_ = choose_thresholds(calibrated, targets, weights)
        self._baselines.choose_thresholds(held)
        uncalibrated = score_probabilities(
            targets, raw, self.classes_, self.thresholds_
        )
        scores = self._score(held.texts, targets, calibrated)
        return {**scores, "ece_uncalibrated": uncalibrated["ece"]}

    def _buckets(
        self, rows: TokenRows, batch_size: int | None = None, loss: str = "last"
    ) -> Buckets:
        lengths = self.preprocessor_.bucket_lengths_
        if self.stateful:  # it has as many states
            return ChunkedBuckets(
                rows, lengths, self.batch_size, self.chunk_length, loss
            )
        return Buckets(rows, lengths, batch_size or self.batch_size)

    def _build_model(self, **arguments: Any) -> keras.Model:
        numbers = range(1, arguments.get("ensemble", 1) + 1)
        members = [build_member(number, arguments) for number in numbers]
        return average(members, arguments["jit"])

    def _encode(self, values: list[Any]) -> np.ndarray:
        return encode(values, self.classes_, self.multi_label)

    def pretrain(
        self,
        texts: Texts,
        *,
        epochs: int = 10,
        patience: int = 1,
        learning_rate: float = LANGUAGE_RATE,
        verbose: int | str = "auto",
        checkpoint: str | PathLike[str] | None = None,
        text_col: str = "text",
        on_bad_rows: str = "error",
    ) -> Self:
        """Learns from texts without labels, before `fit`, which starts from there.

        Embedding and recurrence learn to predict each next token, and reading backward
        each previous one (Dai & Le 2015). Their vocabulary is the one `fit` keeps. The
        texts may be those of `fit`, without their labels.

        Args:
            texts: As `fit` takes them, with or without labels.
            epochs: Upper limit of passes.
            patience: Epochs without improvement, on a twentieth of the texts that is
                held back, before it stops.
            learning_rate: Of Adam.
            verbose: 0 is silent; otherwise progress with the time left is shown.
            checkpoint: Folder that makes it resumable, as that of `fit`, which may be
                the same. Its files stay: a program that was killed in `fit` and runs
                again does not pretrain twice.
            text_col: Column of tables with the texts.
            on_bad_rows: As in `fit`.

        Returns:
            The classifier. Its `pretrained_.history` has a row for each epoch.

        Raises:
            TypeError, ValueError: If the input breaks a rule, or the network is one
                that would see the tokens it is to predict. If `checkpoint` holds
                another pretraining.
        """
        check_arguments(self)
        check_integer("epochs", epochs, 1)
        check_integer("patience", patience, 1)
        check_number("learning_rate", learning_rate, above=0)
        check_pretrainable(shared_arguments(self))
        strings = check_unlabelled(texts, Columns(text_col, on_bad_rows=on_bad_rows))
        kept = None
        if checkpoint is not None:
            told = strings, epochs, patience, learning_rate
            kept = Checkpoint.open(Path(checkpoint) / "pretrain", self, told)
        preprocessor = make_preprocessor(self)
        tokens = preprocessor.tokenize(strings)
        vectors = read_vectors(self, preprocessor.learn(tokens))
        learned = train_language_model(
            preprocessor.encode(tokens, whole=True),
            preprocessor.vocabulary_,
            language_arguments(self, vectors),
            vectors=vectors,
            compiling=language_compiling(self, learning_rate),
            batch_size=self.batch_size,
            epochs=epochs,
            patience=patience,
            seed=self.seed,
            verbose=verbose,
            checkpoint=kept,
        )
        shared = {**learned.arguments, "split": describe_split(self)}
        self.pretrained_ = replace(learned, arguments=shared)
        return self

    def __sklearn_tags__(self) -> Tags:
        """Of lists of labels scikit-learn's stratified folds know nothing."""
        tags = super().__sklearn_tags__()
        if self.multi_label:
            tags.estimator_type = None
        return tags

    def __sklearn_clone__(self) -> Self:
        """A clone keeps what `pretrain` learned, so that each trial starts from it."""
        copy = type(self)(**deepcopy(self.get_params(deep=False)))
        if hasattr(self, "pretrained_"):
            copy.pretrained_ = self.pretrained_
        return copy

    def partial_fit(
        self,
        texts: Texts,
        labels: Sequence[Any] | None = None,
        sample_weight: Sequence[float] | None = None,
        *,
        epochs: int = 1,
        verbose: int | str = 0,
        text_col: str = "text",
        label_col: str = "label",
        label_sep: str | None = None,
        on_bad_rows: str = "error",
    ) -> Self:
        """Trains a fitted classifier on with new texts.

        Vocabulary, classes, calibration and thresholds stay what they are; nothing is
        held back. The optimiser goes on where it was, and begins anew after `load`.

        Args:
            texts: As in `fit`, and so the others.
            labels: Each among `classes_`.
            sample_weight: Weight of each text in the loss.
            epochs: Passes over the texts.
            verbose: 0 is silent.
            text_col: Column of tables with the texts.
            label_col: Column of tables with the labels.
            label_sep: What stands between labels in a cell of CSV.
            on_bad_rows: As in `fit`.

        Raises:
            NotFittedError: Before `fit` or `load`.
            TypeError, ValueError: If the input breaks a rule.
            FloatingPointError: If the loss is lost; the weights are as before.
        """
        self._check_fitted()
        check_arguments(self)
        check_integer("epochs", epochs, 1)
        strings, values = check_input(
            texts,
            labels,
            columns=Columns(text_col, label_col, label_sep, on_bad_rows),
            classes=self.classes_,
            multi_label=self.multi_label,
        )
        weights = check_weights(sample_weight, len(strings))
        corpus = Corpus(strings, self._encode(values), weights)
        corpus, _ = weigh_by_class(self.class_weight, self.classes_, corpus, None)
        rows = self.preprocessor_.transform(strings)
        histories = train_on(
            self.model_,
            corpus,
            self._buckets(rows, loss=self.chunk_loss),
            seed=self.seed,
            done=len(self.history_),
            epochs=epochs,
            verbose=verbose,
        )
        self.history_ = join_histories(histories, self.history_)
        self._note_seen(corpus, True)
        return self

    def predict_proba(
        self, texts: Texts, *, text_col: str = "text", on_bad_rows: str = "error"
    ) -> np.ndarray:
        """Class probabilities.

        Args:
            texts: Strings, or tables as `fit` takes them, with or without labels, or a
                folder of files, or of folders of files, each a text. A list of strings
                is always texts.
            text_col: Column of tables with the texts.
            on_bad_rows: As in `fit`; rows that are skipped are not in the answer.

        Returns:
            float32, `(num_texts, num_classes)`, columns in the order of `classes_`.
            Rows sum to one, but not with `multi_label`. Of a folder: subfolder by
            subfolder, each in the order of the files' names.
        """
        self._check_fitted()
        columns = Columns(text_col, on_bad_rows=on_bad_rows)
        return self._probabilities(check_unlabelled(texts, columns))

    def _probabilities(self, texts: list[str] | StreamedTexts) -> np.ndarray:
        raw = self._raw_probabilities(self.preprocessor_.transform(texts))
        return apply_temperature(raw, self.temperature_, self.multi_label)

    def _raw_probabilities(self, rows: TokenRows) -> np.ndarray:
        """What the network says."""
        # A few texts need no batch of 256; powers of two keep the shapes few.
        batch_size = min(256, 1 << (len(rows.lengths) - 1).bit_length())
        return predict_rows(self.model_, self._buckets(rows, batch_size))[0]

    def predict(
        self, texts: Texts, *, text_col: str = "text", on_bad_rows: str = "error"
    ) -> Any:
        """The likeliest label of each text, of the type given to `fit`.

        Args:
            texts: As in `predict_proba`, and so the others.
            text_col: Column of tables with the texts.
            on_bad_rows: As in `fit`.

        Returns:
            An array, `(num_texts,)`; with `multi_label` a list of labels for each text,
            in the order of `classes_`.
        """
        options = {"text_col": text_col, "on_bad_rows": on_bad_rows}
        return self._choose_labels(self.predict_proba(texts, **options))

    def _choose_labels(self, probabilities: np.ndarray) -> Any:
        if self.thresholds_ is not None:
            given = decide(probabilities, self.thresholds_)
            return [self.classes_[row].tolist() for row in given]
        return self.classes_[probabilities.argmax(axis=1)]

    def score(
        self,
        texts: Texts,
        labels: Sequence[Any] | None = None,
        sample_weight: Sequence[float] | None = None,
    ) -> float:
        """The share of texts whose label, or all whose labels, are predicted.

        What scikit-learn's cross-validation takes; `evaluate` tells more.

        Args:
            texts: As in `evaluate`, and so `labels`.
            labels: Each among `classes_`.
            sample_weight: Weight of each text; None: 1.
        """
        self._check_fitted()
        strings, values = check_input(
            texts, labels, classes=self.classes_, multi_label=self.multi_label
        )
        weights = check_weights(sample_weight, len(strings))
        found = self._choose_labels(self._probabilities(strings))
        found = found if self.multi_label else found.tolist()
        right = self._encode(values) == self._encode(found)
        return float(np.average(right.reshape(len(strings), -1).all(1), 0, weights))

    def evaluate(
        self,
        texts: Texts,
        labels: Sequence[Any] | None = None,
        *,
        text_col: str = "text",
        label_col: str = "label",
        label_sep: str | None = None,
        on_bad_rows: str = "error",
    ) -> dict[str, Any]:
        """Scores predictions beside the baselines.

        Args:
            texts: Strings that `fit` has not seen, or files as `fit` takes them.
            labels: Their labels; None beside files.
            text_col: As in `fit`, and so the others.
            label_col: Column of tables with the labels.
            label_sep: What stands between labels in a cell of CSV.
            on_bad_rows: As in `fit`.

        Returns:
            `accuracy`, `f1_macro`, `f1_per_class`, `log_loss`, `ece` (expected
            calibration error: how far the probability of the likeliest label is from
            the share of answers that are right, in 15 bins), `n`, and `baselines`:
            the same of `majority` (the commonest training label) and of
            `tfidf_logreg`. With `multi_label` instead of `accuracy`: `f1_micro`,
            `subset_accuracy` (texts with all labels right) and `hamming_loss` (wrong
            decisions); `log_loss` and `ece` are those of all texts and labels, and
            `majority` gives the labels that half of the texts have or more.
            The linear model is not saved: after `load` its entry is its score on the
            validation part of `fit`, marked `"on": "validation"`.
        """
        self._check_fitted()
        columns = Columns(text_col, label_col, label_sep, on_bad_rows)
        strings, values = check_input(
            texts,
            labels,
            columns=columns,
            classes=self.classes_,
            multi_label=self.multi_label,
        )
        if not isinstance(strings, StreamedTexts):
            columns.refuse()
        targets = self._encode(values)
        return self._score(strings, targets, self._probabilities(strings))

    def _score(
        self,
        texts: list[str] | StreamedTexts,
        targets: np.ndarray,
        probabilities: np.ndarray,
    ) -> dict[str, Any]:
        baselines = self._baselines.score(texts, targets, self.classes_)
        own = score_probabilities(
            targets, probabilities, self.classes_, self.thresholds_
        )
        return {**own, "n": len(texts), "baselines": baselines}

    def split_folds(
        self, count: int, texts: Texts, labels: Sequence[Any] | None = None
    ) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
        """Stratified folds: what `fit` takes for each, and its `validation_data`.

        Args:
            count: Number of folds.
            texts: Strings; copies of one go to one fold. Or files as `fit` takes them,
                with columns `text` and `label`.
            labels: Their labels; None beside files.
        """
        strings, values = check_input(texts, labels, multi_label=self.multi_label)
        folds = stratified_folds(strings, values, count, self.seed, self.multi_label)
        for rows in folds:
            kept, held = (
                (take_texts(strings, part), [values[row] for row in part])
                for part in rows
            )
            yield kept, {"validation_data": held}

    def stream(
        self,
        *,
        engine: str = "auto",
        max_keys: int | None = None,
        on_full: str = "drop",
        spill: str | PathLike[str] | None = None,
    ) -> "TextSession":
        """Opens a session that reads texts piece by piece.

        After each piece it gives the class probabilities of all that a text has said so
        far. A `stateful` classifier carries its state on; another one keeps the tokens
        that it reads, and reads them again.

        Args:
            engine: `"numpy"`, which answers soonest; `"keras"`; or `"auto"`: NumPy
                where it can run the network.
            max_keys: Most texts that are kept; None: any number.
            on_full: What happens to the texts longest unused if there are more:
                `"drop"` forgets them, `"write"` writes them to `spill`, from where they
                come back.
            spill: Folder for `on_full="write"`.

        Returns:
            A `keras_seq.streaming.TextSession`; `session.step({"mail_1": "Dear "})`.
        """
        from keras_seq.streaming import open_text_session

        return open_text_session(
            self, engine=engine, max_keys=max_keys, on_full=on_full, spill=spill
        )

    def plot(
        self,
        texts: Sequence[str] | None = None,
        labels: Sequence[Any] | None = None,
        ax: Any = None,
    ) -> Any:
        """Draws the confusion matrix of labelled texts, or how training went.

        With `multi_label`: how often each label was found, missed, and given wrongly.

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
        if self.multi_label:
            values = check_pairs(texts, labels, multi_label=True)[1]
            draw, predicted = plotting.plot_label_counts, self.predict(texts)
            return draw(values, predicted, classes=self.classes_.tolist(), ax=ax)
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

    def _params_in_use(self) -> dict[str, Any]:
        return {**super()._params_in_use(), **saving.preprocessing(self)}

    def _saved_params(self) -> dict[str, Any]:
        return saving.plain_params(super()._saved_params())

    def _get_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return saving.get_state(self)

    def _set_state(self, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        saving.set_state(self, state, arrays)
