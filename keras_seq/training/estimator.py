"""SequenceEstimator: the manners TextClassifier and Forecaster share."""

from abc import ABC, abstractmethod
from os import PathLike
from typing import Any, Self

import keras
import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from keras_seq import artifact
from keras_seq.errors import ArtifactError, did_you_mean
from keras_seq.fingerprint import jsonable
from keras_seq.training.representation import estimator_html


class SequenceEstimator(BaseEstimator, ABC):
    """Constructor arguments stored as given, learned attributes end in `_`.

    A subclass implements `_get_state` and `_set_state` for what `fit` learned beside
    the weights, and `_build_model(**self._builder_args)`.
    """

    model_: keras.Model
    _builder_args: dict[str, Any]
    _unsaved_params: tuple[str, ...] = ()  # where they are functions

    def set_params(self, **params: Any) -> Self:
        """Sets constructor arguments; a misspelt one names the one that was meant."""
        valid = self.get_params(deep=False)
        for name in params:
            if name not in valid:
                raise ValueError(
                    f"{type(self).__name__} has no parameter {name!r}."
                    f"{did_you_mean(name, valid)} It has: {', '.join(valid)}."
                )
        return super().set_params(**params)

    def _check_fitted(self) -> None:
        if not hasattr(self, "model_"):
            raise NotFittedError(
                f"This {type(self).__name__} is not fitted yet: call fit(...) or load "
                "a saved one first."
            )

    def _repr_html_(self) -> str:
        return estimator_html(self)

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        """What notebooks show; scikit-learn's own would be its diagram."""
        bundle = {"text/plain": repr(self)}
        if get_config()["display"] == "diagram":
            bundle["text/html"] = self._repr_html_()
        return bundle

    @abstractmethod
    def _build_model(self, **arguments: Any) -> keras.Model:
        """Calls the estimator's builder."""

    @abstractmethod
    def _get_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What `fit` learned beside the weights: JSON-able values, and arrays."""

    @abstractmethod
    def _set_state(self, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Takes over what `_get_state` gave."""

    def save(self, path: str | PathLike[str]) -> None:
        """Writes the fitted estimator to one file, whole or not at all.

        Args:
            path: Where to write; an existing file is replaced. By custom `*.kseq`.
        """
        self._check_fitted()
        state, arrays = self._get_state()
        params = self._params_in_use()
        functions = {
            name: jsonable(params[name])
            for name in self._unsaved_params
            if callable(params[name])
        }
        manifest = {
            "estimator": type(self).__name__,
            "params": self._saved_params(),
            "functions": functions,
            "builder": self._builder_args,
            "state": state,
        }
        weights = {f"model/{w.path}": np.asarray(w) for w in self.model_.weights}
        artifact.write(path, manifest, {**arrays, **weights})

    def _params_in_use(self) -> dict[str, Any]:
        """Constructor arguments; as they were in `fit` where answers depend on them."""
        return self.get_params(deep=False)

    def _saved_params(self) -> dict[str, Any]:
        """Constructor arguments as JSON has them; `_set_state` undoes what differs."""
        return {
            name: value
            for name, value in self._params_in_use().items()
            if not (name in self._unsaved_params and callable(value))
        }

    @classmethod
    def load(cls, path: str | PathLike[str], **overrides: Any) -> Self:
        """Reads what `save` wrote; nothing in the file can execute.

        Args:
            path: The file.
            overrides: Constructor arguments that are not in the file: functions.

        Raises:
            ArtifactError: If the file is damaged, foreign, from a newer version, or
                holds another estimator; if a function is missing.
            ValueError: If a function is given for what is in the file.
        """
        manifest, arrays = artifact.read(path)
        if manifest["estimator"] != cls.__name__:
            raise ArtifactError(
                f"{path} holds a {manifest['estimator']}, not a {cls.__name__}: use "
                "keras_seq.load(path)."
            )
        saved = manifest.get("functions", {})
        artifact.check_functions(path, cls._unsaved_params, saved, overrides)
        try:
            self = cls(**{**manifest["params"], **overrides})
            self._builder_args = manifest["builder"]
            self._set_state(manifest["state"], arrays)
            self.model_ = self._build_model(**self._builder_args)
            for weight in self.model_.weights:
                weight.assign(arrays[f"model/{weight.path}"])
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(
                f"{path} does not describe a {cls.__name__} of this version: {error}"
            ) from error
        return self
