"""The steps of a training: weights, ids and a report of the texts; the networks."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from keras_seq.errors import warn
from keras_seq.text.arguments import (
    choose_embedding_dim,
    network_arguments,
    read_vectors,
)
from keras_seq.text.baseline import fit_linear
from keras_seq.text.batches import Buckets, training_batches, validation_batches
from keras_seq.text.corpus import Corpus, split_stratified
from keras_seq.text.ensemble import average, build_member
from keras_seq.text.inputs import are_files, check_validation
from keras_seq.text.labels import encode, weigh_classes
from keras_seq.text.origin import Origin, start_network
from keras_seq.text.preprocessing import TextPreprocessor, TokenRows
from keras_seq.text.report import TextReport, describe_texts
from keras_seq.text.sources import Columns
from keras_seq.text.streaming import StreamedTexts, hash_texts
from keras_seq.training.distribution import (
    check_divisible,
    distributed,
    on_one_device,
)
from keras_seq.training.ensemble import member_seed, members_of
from keras_seq.training.fit import Batches, FitResult, fit_model
from keras_seq.training.runtime import derive_seed

if TYPE_CHECKING:
    from keras_seq.text.classifier import TextClassifier


def hold_out(
    classifier: "TextClassifier", corpus: Corpus, given: Any, columns: Columns
) -> tuple[Corpus, Corpus]:
    """What to train and what to validate on.

    Args:
        classifier: Its arguments, and the classes.
        corpus: All that was given to train on.
        given: `validation_data` of `fit`; None: a stratified part is held back.
        columns: How files are read.
    """
    if not isinstance(corpus.texts, StreamedTexts) and not are_files(given):
        columns.refuse()
    classes, multi_label = classifier.classes_, classifier.multi_label
    if given is None:
        share, seed = classifier.validation_split, classifier.seed
        parts = split_stratified(corpus, classes, share, seed)
        for part, name in zip(parts, ("trained", "validated"), strict=True):
            if not part.weights.any():
                raise ValueError(
                    f"`sample_weight` must be above 0 for some of the texts {name} on: "
                    f"all {len(part.weights)} have 0. Leave texts of weight 0 out, or "
                    "give `validation_data`. Received above 0: "
                    f"{np.count_nonzero(corpus.weights)} of {len(corpus.weights)}"
                )
        return parts
    texts, values = check_validation(
        given, columns=columns, classes=classes, multi_label=multi_label
    )
    targets = encode(values, classes, multi_label, "validation_data[1]")
    return corpus, Corpus(texts, targets, np.ones(len(texts), np.float32))


def warn_of_seen(held: Corpus, seen: np.ndarray | None) -> None:
    """Warns if texts held back have trained the weights that a fit goes on from.

    Args:
        held: To validate on.
        seen: Of `hash_texts`, what the weights have learned from; None: nobody knows.
    """
    count = f"{len(held.texts):,}"
    if seen is None:  # since a file or a pickle was loaded
        told = f"may have learned from the {count} texts held back for validation"
    else:
        known = int(np.isin(hash_texts(held.texts), seen).sum())
        if not known:
            return
        told = f"have learned from {known:,} of the {count} texts held back"
    warn(
        f"`warm_start`: the weights that `fit` goes on from {told}, so that scores, "
        "early stopping and calibration promise too much. Give `validation_data` that "
        "is new, or fit new texts alone, of which a loaded classifier warns as well."
    )


def weigh_by_class(
    class_weight: str | Mapping[Any, float] | None,
    classes: np.ndarray,
    corpus: Corpus,
    held: Corpus | None,
) -> tuple[Corpus, Corpus | None]:
    """Both with the class weights of the first.

    Early stopping asks whether what is minimised still falls on new texts. Without the
    weights it would prefer the epoch that has taken least notice of them.
    """
    if class_weight is None:
        return corpus, held
    by_class = weigh_classes(class_weight, corpus.targets, corpus.weights, classes)
    return corpus.reweigh(by_class), held.reweigh(by_class) if held else None


def prepare(
    preprocessor: TextPreprocessor,
    corpus: Corpus,
    held: Corpus,
    classes: np.ndarray,
    vocabulary: list[str] | None,
) -> tuple[TokenRows, TokenRows, TextReport]:
    """Learns the vocabulary from one corpus, and it alone; each text is split once.

    Args:
        preprocessor: Not fitted yet.
        corpus: To train on.
        held: To validate on.
        classes: Labels by class id.
        vocabulary: That of a network which trains on; None: it is learned.

    Returns:
        The ids of either, and what there is to say of both.
    """
    tokens = preprocessor.tokenize(corpus.texts)
    preprocessor.learn(tokens, vocabulary)
    held_tokens = preprocessor.tokenize(held.texts)
    report = describe_texts(
        preprocessor,
        classes,
        (corpus.texts, tokens, corpus.targets),
        (held.texts, held_tokens, held.targets),
    )
    return preprocessor.encode(tokens), preprocessor.encode(held_tokens), report


class Trained(NamedTuple):
    """What a training leaves.

    Attributes:
        model: One network, or an ensemble.
        arguments: Of `build_member`, by which it was built.
        linear: The baseline's pipeline, if there is one.
        results: How training went, network by network.
    """

    model: keras.Model
    arguments: dict[str, Any]
    linear: Pipeline | None
    results: list[FitResult]


def train(
    classifier: "TextClassifier",
    corpus: Corpus,
    rows: TokenRows,
    held: Corpus | None = None,
    held_rows: TokenRows | None = None,
    *,
    origin: Origin,
    epochs: list[int],
    title: str,
    **options: Any,
) -> Trained:
    """Trains new networks, one after another, and the linear model beside them.

    Args:
        classifier: Its arguments, its classes and its fitted preprocessor.
        corpus: To train on.
        rows: The same texts as ids.
        held: To validate on; None: nothing is.
        held_rows: The same as ids.
        origin: What the networks go on from.
        epochs: Upper limit of each network.
        title: Of the training.
        options: Callbacks, verbosity and checkpoint of `fit_model`.
    """
    # The baseline has the weights that the network has, or it would answer another
    # question.
    corpus, held = weigh_by_class(
        classifier.class_weight, classifier.classes_, corpus, held
    )
    validation = None
    if held is not None and held_rows is not None:
        shown = classifier._buckets(held_rows)
        validation = validation_batches(shown, held.targets, held.weights)
    buckets = classifier._buckets(rows, loss=classifier.chunk_loss)
    preprocessor = classifier.preprocessor_
    # What there is to go on from began with the vectors, of which the file may be gone.
    dim, vectors = origin.embedding_dim, None
    if dim is None:
        vectors = read_vectors(classifier, preprocessor)
        dim = choose_embedding_dim(classifier, vectors)
    num_classes = len(classifier.classes_)
    arguments = network_arguments(classifier, preprocessor, num_classes, dim)

    def train_member(number: int) -> tuple[keras.Model, FitResult]:
        own, seed = origin.of_member(number), member_seed(classifier.seed, number)
        which = f" member {number} of {len(epochs)}" if len(epochs) > 1 else ""
        return train_network(
            lambda: build_member(number, arguments),
            lambda model: start_network(model, rows, corpus, vectors, own, seed),
            training_batches(buckets, corpus.targets, corpus.weights, seed),
            validation=validation,
            distribution=classifier.distribution,
            batch_size=classifier.batch_size,
            precision=arguments["precision"],
            jit=classifier.jit,
            patience=classifier.patience,
            seed=seed,
            epochs=epochs[number - 1],
            title=f"{title}{which}",
            **options,
        )

    trained = [train_member(number) for number in range(1, len(epochs) + 1)]
    model = average([model for model, _ in trained], classifier.jit)
    linear = None
    if classifier.baseline:
        linear = fit_linear(corpus, preprocessor, classifier.seed)
    return Trained(model, arguments, linear, [result for _, result in trained])


def train_network(
    build: Callable[[], keras.Model],
    start: Callable[[keras.Model], None],
    training: Batches,
    *,
    distribution: str | None,
    batch_size: int,
    precision: str,
    jit: bool | str,
    **options: Any,
) -> tuple[keras.Model, FitResult]:
    """Builds a network on the devices that are to train it, and trains it.

    Args:
        build: Of the compiled network.
        start: What gives it its first weights.
        training: Batches.
        distribution: Of `TextClassifier`.
        batch_size: Which the devices share.
        precision: That the network is built in.
        jit: Whether XLA compiles its steps.
        options: Of `fit_model`.

    Returns:
        The network on one device, and how training went.
    """
    with distributed(distribution, precision=precision, jit=jit) as count:
        check_divisible(batch_size, count)
        model = build()
        start(model)
        # Unlike the loss, it is exact over batches that are not equally full.
        result = fit_model(model, training, monitor="val_log_loss", **options)
    return on_one_device(model, build, count), result


def train_on(
    model: keras.Model,
    corpus: Corpus,
    buckets: Buckets,
    *,
    seed: int,
    done: int,
    **options: Any,
) -> list[pd.DataFrame]:
    """Trains fitted networks on, on new texts; if one fails, none has changed.

    Args:
        model: One network, or an ensemble.
        corpus: The texts, with their weights in the loss.
        buckets: The same texts as ids.
        seed: Of the classifier.
        done: Epochs there were before, of all networks.
        options: Of `fit_model`.

    Returns:
        The history of each network.
    """
    before = model.get_weights()
    histories = []
    try:
        for number, member in enumerate(members_of(model), start=1):
            own = derive_seed(member_seed(seed, number), "partial", done)
            batches = training_batches(buckets, corpus.targets, corpus.weights, own)
            result = fit_model(
                member, batches, seed=own, title="partial fit", **options
            )
            histories.append(result.history)
    except BaseException:
        model.set_weights(before)
        raise
    return histories
