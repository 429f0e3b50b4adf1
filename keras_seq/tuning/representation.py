"""search_html: how the result of a search shows itself in a notebook."""

from typing import TYPE_CHECKING

from keras_seq import html

if TYPE_CHECKING:
    from keras_seq.tuning.search_result import SearchResult


def search_html(result: "SearchResult") -> str:
    """The best arguments, their score beside that of the estimator as it was, trials.

    Args:
        result: What `tune` returned.
    """
    trials = result.trials_
    best, default = result.best_score_, result.default_score_
    failed = int((trials["status"] == "failed").sum())
    direction = "larger" if result.maximize else "smaller"
    scores = {
        "best": best,
        "as it was": default,
        "better by": best - default if result.maximize else default - best,
        "trials": len(trials),
        **({"failed trials": failed} if failed else {}),
    }
    shown = [name for name in trials if name != "message"]
    ordered = trials[shown].sort_values(
        "score", ascending=not result.maximize, kind="stable"
    )
    # The mean over seeds is what chose, where there is one.
    candidates = result.candidates_
    several = "" if candidates is None else html.table(candidates, "over several seeds")
    return html.card(
        "SearchResult",
        f"{result.objective}, {direction} is better",
        html.pairs(scores),
        html.pairs(
            {str(name): value for name, value in result.best_params_.items()},
            "best arguments",
        ),
        several,
        html.fold(f"{len(trials):,} trials, best first", html.table(ordered)),
    )
