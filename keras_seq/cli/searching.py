"""The search that `text tune` and `forecast tune` share."""

from pathlib import Path
from typing import Any


def search_and_save(estimator: Any, *data: Any, output: Path, **search: Any) -> None:
    """Searches with the estimator's own seed and saves the refitted winner."""
    from keras_seq import tune

    result = tune(estimator, *data, seed=estimator.seed, **search)
    result.best_estimator_.save(output)
    found = ", ".join(
        f"{name}={value}"
        for name, value in result.best_params_.items()
        if value is not None
    )
    print(f"best {result.objective} {result.best_score_:.4g}: {found}")
    print(f"saved {output}")
