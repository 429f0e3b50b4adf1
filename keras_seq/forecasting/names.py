"""Columns: the names of a long frame's columns, and what each is for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

KINDS = ("static", "past", "future")  # of covariates


@dataclass(frozen=True)
class Columns:
    """Names of the columns of a long frame; `id` None means one single series.

    The covariates of a series, those known up to the last step, and those known ahead
    are `static`, `past` and `future`.
    """

    id: str | None = "unique_id"
    time: str = "ds"
    target: str = "y"
    static: Sequence[str] = ()
    past: Sequence[str] = ()
    future: Sequence[str] = ()

    def names(self) -> list[str]:
        """The columns of id, time and target."""
        return [name for name in (self.id, self.time, self.target) if name is not None]

    @property
    def covariates(self) -> dict[str, tuple[str, ...]]:
        """Names of the covariates by their kind."""
        return {kind: tuple(getattr(self, kind)) for kind in KINDS}

    def roles(self) -> dict[str, str]:
        """Each column that a frame must have, and the argument that names it.

        Raises:
            ValueError: If a column has two roles, or an argument is not a list.
        """
        named = {"id_col": self.id, "time_col": self.time, "target_col": self.target}
        roles = {name: role for role, name in named.items() if name is not None}
        for kind in KINDS:
            role, names = f"{kind}_covariates", getattr(self, kind)
            if not isinstance(names, list | tuple):
                raise ValueError(
                    f"`{role}` must be a list of column names. Received: "
                    f"{role}={names!r}"
                )
            for name in names:
                if name in roles:
                    raise ValueError(
                        f"`{role}` must name columns that have no other role, each "
                        f"once. Received: {role}={list(names)!r}, where {name!r} is "
                        f"in `{roles[name]}` already"
                    )
                roles[name] = role
        return roles

    def without_covariates(self) -> Self:
        """The columns of id, time and target alone."""
        return type(self)(self.id, self.time, self.target)

    def rename(self, frame: Any) -> Any:
        """From our names, `unique_id`, `ds` and `y`, to the user's."""
        if self.id is None:
            frame = frame.drop(columns="unique_id")
        names = {"unique_id": self.id, "ds": self.time, "y": self.target}
        return frame.rename(columns=names)

    def restore(self, frame: Any) -> Any:
        """From the user's names to ours; undoes `rename`."""
        if self.id is None:
            frame = frame.assign(unique_id="series")
        names = {self.id: "unique_id", self.time: "ds", self.target: "y"}
        return frame.rename(columns=names)
