"""SearchResult: what a search found, and everything it tried."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from keras_seq.tuning.trial_log import Trial

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class SearchResult:
    """What `tune` returns.

    Attributes:
        best_estimator_: An estimator with the best arguments, fitted on all the data.
        best_params_: The arguments that the search set on it.
        best_score_: Score of the best trial on its validation part. It was chosen
            from many, so it flatters: judge `best_estimator_` on other data.
        trials_: DataFrame, one row per trial: `trial`, one column per argument,
            `score`, `status` (`"completed"` or `"failed"`), `seconds`, `message`,
            and one column `val_*` per score of the validation part.
        objective: Name of the score.
        maximize: Whether larger is better.
    """

    best_estimator_: Any
    best_params_: dict[str, Any]
    best_score_: float
    trials_: pd.DataFrame
    objective: str
    maximize: bool

    @property
    def default_score_(self) -> float:
        """Score of trial 0, the estimator as it was passed in; NaN if it failed."""
        return float(self.trials_.loc[self.trials_["trial"] == 0, "score"].iloc[0])

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draws the score of each trial and the best so far.

        Args:
            ax: Matplotlib axes to draw on; None makes a figure.

        Returns:
            The axes.
        """
        from keras_seq import plotting

        return plotting.plot_trials(
            self.trials_, name=self.objective, maximize=self.maximize, ax=ax
        )


def trials_frame(trials: list[Trial]) -> pd.DataFrame:
    """One row per trial, as `SearchResult.trials_` describes it."""
    rows = [
        {
            "trial": trial.trial,
            **trial.params,
            "score": trial.score,
            "status": "failed" if trial.score is None else "completed",
            "seconds": trial.seconds,
            "message": trial.message,
            **{f"val_{name}": value for name, value in trial.validation.items()},
        }
        for trial in trials
    ]
    frame = pd.DataFrame(rows)
    scores = ["score", *(name for name in frame if str(name).startswith("val_"))]
    return frame.astype(dict.fromkeys(scores, "float64"))
