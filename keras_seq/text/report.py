"""TextReport: what a text classifier was given, counted before it trains."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from keras_seq import html
from keras_seq.errors import name_some, warn
from keras_seq.text.preprocessing import TextPreprocessor
from keras_seq.text.streaming import StreamedTexts, hash_texts
from keras_seq.text.tokenizing import Tokenized, count_tokens, sign_texts

# Above these shares a warning tells what to change.
TRUNCATED = 0.1  # of the training texts
UNKNOWN = 0.2  # of the validation part's tokens
DUPLICATES = 0.05  # of the validation texts
# Below this number of training texts a class is rare.
RARE = 5
# So many times the texts of another class are imbalance.
IMBALANCE = 20


@dataclass(frozen=True, repr=False)
class TextReport:
    """Training and validation texts in numbers.

    Lengths and tokens are counted before truncation.

    Attributes:
        num_texts: Of the training part.
        num_tokens: Of the training part.
        mean_length: Tokens of a training text.
        median_length: Tokens of a training text.
        p95_length: Tokens that 95 % of the training texts do not exceed.
        longest: Tokens of the longest training text.
        max_length: Tokens of a text that the network reads; None: all.
        truncated: Share of the training texts that are longer.
        num_empty: Training texts without any token.
        vocabulary_size: Padding and unknown included.
        class_counts: Training texts by label, as str.
        num_validation_texts: Of the validation part.
        num_validation_empty: Validation texts without any token.
        validation_class_counts: Validation texts by label, as str.
        unknown: Share of the validation part's tokens that are not in the vocabulary.
        num_copies: Validation texts that are training texts too, letter by letter.
        num_near_copies: Validation texts whose tokens are those of a training text:
            the copies, and others up to case, spacing and the like. Texts without
            any token are none.
    """

    num_texts: int
    num_tokens: int
    mean_length: float
    median_length: float
    p95_length: float
    longest: int
    max_length: int | None
    truncated: float
    num_empty: int
    vocabulary_size: int
    class_counts: dict[str, int]
    num_validation_texts: int
    num_validation_empty: int
    validation_class_counts: dict[str, int]
    unknown: float
    num_copies: int
    num_near_copies: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; `TextReport(**values)` takes it back."""
        return asdict(self)

    def summary(self) -> str:
        """Two lines: the texts and their classes; their tokens."""
        classes = [
            f"{label} {count / max(self.num_texts, 1):.1%}"
            for label, count in self._by_count()[:5]
        ]
        more = len(self.class_counts) - len(classes)
        cut = f"to {self.max_length}" if self.max_length else "at all"
        return (
            f"texts: {self.num_texts:,} to train on, {self.num_validation_texts:,} to "
            f"validate on; {', '.join(classes)}{f' and {more} more' * bool(more)}\n"
            f"tokens: {self.median_length:g} a text in the median, {self.p95_length:g} "
            f"at 95 %, {self.longest:,} at most; {self.truncated:.1%} of the texts "
            f"truncated {cut}; vocabulary {self.vocabulary_size:,}, "
            f"{self.unknown:.1%} of the validation tokens unknown"
        )

    def __repr__(self) -> str:
        lines = []
        for name, value in self.to_dict().items():
            if isinstance(value, dict):
                largest = sorted(value.items(), key=lambda item: -item[1])
                shown = ", ".join(f"{label}: {n:,}" for label, n in largest[:10])
                text = shown + ", ..." * (len(largest) > 10)
            elif name in ("truncated", "unknown"):
                text = f"{value:.2%}"
            else:
                text = f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"
            lines.append(f"{name:24s} {text}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        lines = (line.split(maxsplit=1) for line in repr(self).splitlines())
        return html.card(
            "TextReport", "", html.pairs({n: v[0] for n, *v in lines if v})
        )

    def warn(self, params: Mapping[str, Any], given: bool) -> None:
        """Warns of what will cost accuracy, or makes the scores untrue.

        That is: more than a tenth of the training texts truncated; more than a fifth of
        the validation tokens unknown; more than a twentieth of the validation texts
        seen in training, up to case, spacing and the like (six at least, if drawn); a
        class missing from given validation texts; a class of fewer than five training
        texts; others 20 times rarer than the commonest.

        Args:
            params: Constructor arguments of the classifier.
            given: Whether the user chose the validation texts.
        """
        for message in self._complaints(params, given):
            warn(message)

    def _complaints(self, params: Mapping[str, Any], given: bool) -> list[str]:
        found = []
        if self.truncated > TRUNCATED:
            found.append(
                f"{self.truncated:.1%} of the training texts are longer than "
                f"{self.max_length} tokens and truncated (keeping "
                f"{params['truncation']!r}). Raise `max_length` (95 % have up to "
                f"{self.p95_length:g} tokens), or choose what is kept: `truncation`."
            )
        if self.unknown > UNKNOWN:
            found.append(
                f"{self.unknown:.1%} of the validation tokens are not in the "
                f"vocabulary of {self.vocabulary_size:,}. "
                + self._vocabulary_advice(params)
            )
        # In a small part that was drawn one or two are chance, which nobody can mend.
        fewest = 0 if given else RARE
        if self.num_near_copies > max(DUPLICATES * self.num_validation_texts, fewest):
            found.append(self._complaint_of_copies(given))
        if given:
            found += self._complaints_of_given()
        counts = self._by_count()
        # Else the split has told of what it could not validate.
        rare = [
            label
            for label, count in counts
            if count < RARE and (given or self.validation_class_counts.get(label))
        ]
        if rare:
            found.append(
                f"{len(rare)} of {len(counts)} classes have fewer than {RARE} training "
                f"texts: {name_some(rare)}. Give more of them, or leave them out."
            )
        enough = [(label, count) for label, count in counts if count >= RARE]
        if enough and enough[0][1] >= IMBALANCE * enough[-1][1]:
            (most, many), (least, few) = enough[0], enough[-1]
            found += _imbalance_advice(
                f"Class {most!r} has {many:,} training texts and {least!r} {few:,}, "
                f"{many / few:.0f} times fewer.",
                params,
            )
        return found

    def _complaint_of_copies(self, given: bool) -> str:
        which = (
            f"{self.num_near_copies:,} of the {self.num_validation_texts:,} texts "
            + ("of `validation_data` " if given else "held back for validation ")
        )
        if given:
            return (
                f"{which}are training texts too ({self.num_copies:,} letter by "
                "letter), so its scores promise too much. Leave them out of either."
            )
        return (
            f"{which}are training texts too, up to case, spacing and the like, so the "
            "scores promise too much. Leave such copies out, or give `validation_data`."
        )

    def _complaints_of_given(self) -> list[str]:
        found = []
        seen = self.validation_class_counts
        missing = [label for label in self.class_counts if not seen.get(label)]
        if missing:
            found.append(
                f"{len(missing)} of {len(self.class_counts)} classes have no text in "
                "`validation_data`, so nothing is validated of them: "
                f"{name_some(missing)}."
            )
        return found

    def _vocabulary_advice(self, params: Mapping[str, Any]) -> str:
        if self.vocabulary_size >= params["max_tokens"]:
            return f"Raise `max_tokens` (now {params['max_tokens']:,})."
        if params["min_count"] != 1:
            return (
                f"Lower `min_count` (now {params['min_count']!r}), give more training "
                "texts, or split into smaller tokens with `split`."
            )
        return "Give more training texts, or split into smaller tokens with `split`."

    def _by_count(self) -> list[tuple[str, int]]:
        return sorted(self.class_counts.items(), key=lambda item: -item[1])


def describe_texts(
    preprocessor: TextPreprocessor,
    classes: np.ndarray,
    training: tuple[list[str] | StreamedTexts, Tokenized, np.ndarray],
    validation: tuple[list[str] | StreamedTexts, Tokenized, np.ndarray],
) -> TextReport:
    """Counts what the training and the validation part hold.

    Args:
        preprocessor: Fitted on the training part.
        classes: Labels by class id.
        training: Texts; the same as tokens; class ids, int, `(num_texts,)`, or 0 and 1
            for each class, `(num_texts, num_classes)`.
        validation: The same of the validation part.
    """
    texts, tokens, targets = training
    held, held_tokens, held_targets = validation
    lengths, longest = tokens.lengths, preprocessor.max_length_
    vocabulary = set(preprocessor.vocabulary_[2:])
    known = np.array([t in vocabulary for t in held_tokens.tokens], bool)
    size = len(held_tokens.ids)
    num_known = count_tokens(held_tokens.ids, len(known))[known].sum()
    # 64 bits for each text: texts in files are more than memory holds.
    copies = np.isin(hash_texts(held), hash_texts(texts))
    alike = np.isin(sign_texts(held_tokens), sign_texts(tokens))
    return TextReport(
        num_texts=len(texts),
        num_tokens=len(tokens.ids),
        mean_length=float(lengths.mean()),
        median_length=float(np.median(lengths)),
        p95_length=float(np.quantile(lengths, 0.95, method="higher")),
        longest=int(lengths.max()),
        max_length=longest,
        truncated=float((lengths > longest).mean()) if longest else 0.0,
        num_empty=int((lengths == 0).sum()),
        vocabulary_size=len(preprocessor.vocabulary_),
        class_counts=_count_classes(targets, classes),
        num_validation_texts=len(held),
        num_validation_empty=int((held_tokens.lengths == 0).sum()),
        validation_class_counts=_count_classes(held_targets, classes),
        unknown=float(1 - num_known / size) if size else 0.0,
        num_copies=int(copies.sum()),
        num_near_copies=int((alike & (held_tokens.lengths > 0)).sum()),
    )


def _count_classes(targets: np.ndarray, classes: np.ndarray) -> dict[str, int]:
    if targets.ndim == 2:
        counts = (targets > 0).sum(axis=0)
    else:
        counts = np.bincount(targets, minlength=len(classes))
    names = [str(label) for label in classes.tolist()]
    return dict(zip(names, counts.tolist(), strict=True))


def _imbalance_advice(fact: str, params: Mapping[str, Any]) -> list[str]:
    # `class_weight` is refused for several labels a text.
    if params.get("multi_label") or "class_weight" not in params:
        return [f"{fact} Weigh the rarer ones more, with `sample_weight`."]
    if params["class_weight"] is None:
        return [f'{fact} Weigh the rarer ones more, with class_weight="balanced".']
    return []  # it was seen to
