"""Explanations of texts, and how they show themselves."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import pandas as pd

from keras_seq import html

# Colours of terminals with 256 of them, from weak to strong: for, and against.
_BLUES, _ORANGES = (153, 111, 75, 33), (223, 216, 209, 208)
# Contributions below this part of the largest are not coloured.
_FAINT = 0.05
# Tokens named in a line of text.
_NAMED = 5


@dataclass(frozen=True, repr=False)
class TextExplanation:
    """What the tokens of one text add to the log-odds of a label.

    Printed where colours show, it is the text in colours: blue speaks for the label,
    orange against it.

    Attributes:
        text: As it was given.
        label: The one that is explained.
        probability: As `predict_proba` gives it.
        log_odds: log(p / (1 - p)) of that.
        baseline: The same of a text as long that has no words.
        gap: What the contributions add up to beyond `log_odds - baseline`.
        steps: Gradients taken.
        tokens: One row per token, in order: `token`, as it is after normalisation;
            `start` and `end`, so that it comes from `text[start:end]`; `contribution`
            to the log-odds; `status`: `"known"`, `"unknown"` (all such tokens share one
            vector), or `"cut"` (beyond what is read; contributes 0).
    """

    text: str
    label: Any
    probability: float
    log_odds: float
    baseline: float
    gap: float
    steps: int
    tokens: pd.DataFrame

    def character_contributions(self) -> np.ndarray:
        """Of each character of `text`: float64, `(len(text),)`.

        A token's is parted evenly among its characters, so that they add up to the
        same.
        """
        values = np.zeros(len(self.text))
        for start, end, value in self._spans():
            if end > start:
                values[start:end] += value / (end - start)
        return values

    def _spans(self) -> Iterator[tuple[int, int, float]]:
        columns = (self.tokens[name] for name in ("start", "end", "contribution"))
        yield from zip(*(column.tolist() for column in columns), strict=True)

    def segments(self) -> list[tuple[str, float]]:
        """The text in parts that tokens begin or end at, and what those tokens add.

        Where several tokens come from one character, it is the sum of theirs.
        """
        edges = {0, len(self.text), *self.tokens["start"], *self.tokens["end"]}
        places = sorted(int(edge) for edge in edges)
        values = np.zeros(max(len(places) - 1, 0))
        index = {place: number for number, place in enumerate(places)}
        for start, end, value in self._spans():
            values[index[start] : index[end]] += value
        return [
            (self.text[a:b], float(value))
            for a, b, value in zip(places, places[1:], values, strict=False)
        ]

    def summary(self) -> str:
        """A line: label, probability, and whether contributions add up."""
        return (
            f"{self.label}: p = {self.probability:.4g}, log-odds {self.log_odds:+.2f} "
            f"from {self.baseline:+.2f} without words (gap {self.gap:+.3f}, "
            f"{self.steps} steps)"
        )

    def to_html(self) -> str:
        """The text in colours, for a page that is light or dark."""
        return html.card("", "", self._html_text(self._largest()))

    def _html_text(self, largest: float) -> str:
        parts = []
        for text, value in self.segments():
            shown = html.escape(text)
            if abs(value) < _FAINT * largest or not value:
                parts.append(shown)
                continue
            style = f"{html.tint(value, largest)};border-radius:.2em"
            # Not by colour alone: what speaks against is underlined.
            if value < 0:
                style += ";border-bottom:2px dotted rgb(213,94,0)"
            parts.append(f'<span style="{style}" title="{value:+.3f}">{shown}</span>')
        style = (
            "white-space:pre-wrap;overflow-wrap:anywhere;margin:.3em 0;color:inherit"
        )
        # A text's direction is its own, and must not turn what stands around it.
        body = f'<div dir="auto" style="{style}">{"".join(parts)}</div>'
        return html.note(self.summary()) + body

    def _repr_html_(self) -> str:
        return self.to_html()

    def to_terminal(self, color: bool = True) -> str:
        """The text in a terminal's colours; without them, the strongest tokens named.

        Args:
            color: Whether to use ANSI escapes.
        """
        # What a text may hold of its own must not steer the terminal.
        largest = self._largest()
        if not color:
            order = self.tokens["contribution"].abs().sort_values(ascending=False)
            named = self.tokens.loc[order.index[:_NAMED]]
            pairs = zip(named["token"], named["contribution"], strict=True)
            words = [f"{_plain(token)} {value:+.2f}" for token, value in pairs]
            return f"{self.summary()}\n{_plain(self.text)}\n{', '.join(words)}"
        parts = [self.summary(), "\n"]
        for text, value in self.segments():
            strength = abs(value) / largest if largest else 0.0
            shown = _plain(text)
            if strength < _FAINT:
                parts.append(shown)
                continue
            shades = _BLUES if value > 0 else _ORANGES
            shade = shades[min(int(strength * len(shades)), len(shades) - 1)]
            line = "" if value > 0 else "\x1b[4m"
            parts.append(f"\x1b[38;5;16m\x1b[48;5;{shade}m{line}{shown}\x1b[0m")
        return "".join(parts)

    def __str__(self) -> str:
        return self.to_terminal(sys.stdout.isatty())

    __repr__ = __str__

    def _largest(self) -> float:
        return max((abs(value) for _, value in self.segments()), default=0.0)

    def plot(self, ax: Any = None) -> Any:
        """Draws the strongest tokens as bars; returns the axes."""
        from keras_seq import plotting

        return plotting.plot_text_contributions(self, ax=ax)


class TextExplanations(Sequence[TextExplanation]):
    """Explanations of several texts, in order; a notebook shows them in colours."""

    def __init__(self, explanations: Sequence[TextExplanation]):
        self._explanations = list(explanations)

    def __len__(self) -> int:
        return len(self._explanations)

    @overload
    def __getitem__(self, index: int) -> TextExplanation: ...
    @overload
    def __getitem__(self, index: slice) -> "TextExplanations": ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return TextExplanations(self._explanations[index])
        return self._explanations[index]

    def __iter__(self) -> Iterator[TextExplanation]:
        return iter(self._explanations)

    def to_frame(self) -> pd.DataFrame:
        """All tokens: a column `text`, the number of the text, then as in `tokens`."""
        frames = [
            explanation.tokens.assign(text=number, label=explanation.label)
            for number, explanation in enumerate(self)
        ]
        columns = ["text", "label", "token", "start", "end", "contribution", "status"]
        if not frames:
            return pd.DataFrame(columns=columns)
        return pd.concat(frames, ignore_index=True)[columns]

    def to_html(self) -> str:
        """All texts in colours, by one scale."""
        largest = max((one._largest() for one in self), default=0.0)
        key = (
            f'<span style="{html.tint(1, 1)}">speaks for the label</span> '
            f'<span style="{html.tint(-1, 1)};border-bottom:2px dotted rgb(213,94,0)">'
            "speaks against it</span>"
        )
        texts = [one._html_text(largest) for one in self]
        return html.card("Explanation", f"{len(self)} texts", key, *texts)

    def _repr_html_(self) -> str:
        return self.to_html()

    def __str__(self) -> str:
        return "\n\n".join(map(str, self))

    __repr__ = __str__


def _plain(text: str) -> str:
    """A text without control characters, escapes among them, other than line breaks."""
    kept = (c if c.isprintable() or c in "\n\t\u200d" else " " for c in text)
    return "".join(kept).encode("utf-8", "replace").decode()
