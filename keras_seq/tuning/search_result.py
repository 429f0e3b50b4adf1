"""SearchResult: what a search found, and everything it tried."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from keras_seq.errors import check_choice
from keras_seq.tuning.trial_log import Trial

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LEAST_TRIALS = 10  # below, a forest sees noise


@dataclass(frozen=True)
class SearchResult:
    """What `tune` returns.

    Attributes:
        best_estimator_: An estimator with the best arguments, fitted on all the data.
        best_params_: The arguments that the search set on it.
        best_score_: Score of the best trial on its validation part. It was chosen
            from many, so it flatters: judge `best_estimator_` on other data.
        trials_: DataFrame, one row per trial: `trial`, one column per argument,
            `score`, `status` (`"completed"` or `"failed"`), `part` (share of its whole
            training that it had), `seconds`, `message`, and one column `val_*` per
            score of the validation part.
        objective: Name of the score.
        maximize: Whether larger is better.
        candidates_: DataFrame, the best trials and trial 0 over several seeds, best
            first: `trial`, their arguments, `mean`, `std`, one column `seed_*` per
            seed. None with `num_seeds=1`, or where the time ran out.
    """

    best_estimator_: Any
    best_params_: dict[str, Any]
    best_score_: float
    trials_: pd.DataFrame
    objective: str
    maximize: bool
    candidates_: pd.DataFrame | None = None

    @property
    def default_score_(self) -> float:
        """Score of trial 0, the estimator as it was passed in; NaN if it failed.

        The mean over seeds where `best_score_` is one.
        """
        frame, name = self.trials_, "score"
        if self.candidates_ is not None:
            frame, name = self.candidates_, "mean"
        own = frame.loc[frame["trial"] == 0, name]
        return float(own.iloc[0]) if len(own) else float("nan")

    @property
    def seed_scores_(self) -> pd.DataFrame:
        """Scores of the candidates, a row for each, a column for each seed."""
        if self.candidates_ is None:
            raise ValueError("The search was run with num_seeds=1: there is one seed.")
        table = self.candidates_.set_index("trial")
        return table[[name for name in table if str(name).startswith("seed_")]]

    @property
    def importance_(self) -> pd.Series:
        """How much of the score each argument explains, most important first.

        Permutation importance (Breiman, 2001) in a random forest fitted on the trials
        that completed, as parts of 1. Rough with few trials; NaN below ten.
        """
        from sklearn.ensemble import RandomForestRegressor
        from sklearn.inspection import permutation_importance

        trials = self.trials_[self.trials_["score"].notna()]
        arguments = list(self.best_params_)
        texts = trials[arguments].astype(str)
        varied = [a for a in arguments if texts[a].nunique(dropna=False) > 1]
        importance = pd.Series(np.nan, index=varied, name="importance")
        if len(trials) < _LEAST_TRIALS or not varied:
            return importance
        encoded = np.stack([_encode(trials[a]) for a in varied], axis=1)
        forest = RandomForestRegressor(200, random_state=0).fit(
            encoded, trials["score"]
        )
        found = permutation_importance(
            forest, encoded, trials["score"], n_repeats=20, random_state=0
        )["importances_mean"].clip(0)
        importance[:] = found / found.sum() if found.sum() > 0 else 0.0
        return importance.sort_values(ascending=False, kind="stable")

    def _repr_html_(self) -> str:
        from keras_seq.tuning.representation import search_html

        return search_html(self)

    def plot(self, ax: "Axes | None" = None, *, kind: str = "trials") -> Any:
        """Draws the search.

        Args:
            ax: Matplotlib axes to draw trials on; None makes a figure.
            kind: `"trials"`, the score of each trial and the best so far, or
                `"arguments"`, the score against each argument, most important first,
                with its importance.

        Returns:
            The axes; a list of them for `"arguments"`.
        """
        from keras_seq import plotting

        check_choice("kind", kind, ("trials", "arguments"))
        if kind == "trials":
            return plotting.plot_trials(
                self.trials_, name=self.objective, maximize=self.maximize, ax=ax
            )
        return plotting.plot_arguments(
            self.trials_, self.importance_, name=self.objective
        )


def _encode(values: pd.Series) -> np.ndarray:
    """Numbers as they are, with one below all for None; anything else by its order."""
    from keras_seq.plotting import as_numbers

    numbers = as_numbers(values)
    if numbers is not None:
        return numbers.fillna(numbers.min() - 1).to_numpy("float64")
    return pd.factorize(values.astype(str), sort=True)[0].astype("float64")


def trials_frame(trials: list[Trial]) -> pd.DataFrame:
    """One row per trial, as `SearchResult.trials_` describes it."""
    rows = [
        {
            "trial": trial.trial,
            **trial.params,
            "score": trial.score,
            "status": "failed" if trial.failed else "completed",
            "part": trial.part,
            "seconds": trial.seconds,
            "message": trial.last.message,
            **{f"val_{name}": value for name, value in trial.last.validation.items()},
        }
        for trial in trials
    ]
    frame = pd.DataFrame(rows)
    scores = ["score", *(name for name in frame if str(name).startswith("val_"))]
    return frame.astype(dict.fromkeys(scores, "float64"))
