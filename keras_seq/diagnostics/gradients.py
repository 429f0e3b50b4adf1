"""gradient_flow: how loss and states depend on earlier states, and how far back."""

from dataclasses import dataclass
from typing import Any

import keras
import pandas as pd

from keras_seq import html
from keras_seq.diagnostics.batches import draw_batch, network_of
from keras_seq.diagnostics.findings import Finding, find
from keras_seq.diagnostics.flow import (
    flow_table,
    gate_table,
    memory_table,
    weight_table,
)
from keras_seq.diagnostics.probe import Probe
from keras_seq.errors import check_integer
from keras_seq.training.autodiff import check_backend


@dataclass(frozen=True, repr=False)
class GradientReport:
    """What `inspect_gradients` measured; it shows itself with the advice.

    Attributes:
        flow: As `gradient_flow` returns.
        memory: One row per layer, and per direction with several layers
            (`"all/forward"`): `horizon`, the memory horizon, the longest lag at which
            emptying the state changes the outputs by at least 1 % of the largest
            change; `lookback`, steps of the longest row (segments, where a
            forecaster reads segments); `reaches_start`, whether the horizon is as
            long as the rows, so that it may be longer.
        weights: One row per trainable weight: `size`, `norm`, and `gradient_norm`, the
            L2 norm of the gradient of the batch's loss.
        gates: One row per layer and gate: `mean` (of a gate the geometric one, of
            `h` and `tanh(c)` that of the size), shares `low` (below 0.05) and `high`
            (beyond 0.95).
        findings: What is wrong, with reason and remedy.
        loss: Of the batch.
    """

    flow: pd.DataFrame
    memory: pd.DataFrame
    weights: pd.DataFrame
    gates: pd.DataFrame
    findings: list[Finding]
    loss: float

    def __str__(self) -> str:
        lines = []
        for row in self.memory.itertuples():
            more = " or more" * bool(row.reaches_start)
            lines.append(
                f"{row.layer}: memory horizon {row.horizon}{more}, "
                f"lookback {row.lookback}"
            )
        lines.append(f"norm of the gradient of all weights: {self._norm():.3g}")
        return "\n".join([*lines, *map(str, self.findings)])

    __repr__ = __str__

    def _norm(self) -> float:
        return float((self.weights["gradient_norm"] ** 2).sum() ** 0.5)

    def _repr_html_(self) -> str:
        subtitle = f"loss {self.loss:.4g}, norm of its gradient {self._norm():.3g}"
        found = [html.note(str(finding)) for finding in self.findings]
        return html.card(
            "Gradient flow",
            subtitle,
            html.table(self.memory),
            *(found or [html.note("Nothing stands out.")]),
            html.fold("gates", html.table(self.gates, most=len(self.gates))),
            html.fold("weights", html.table(self.weights, most=len(self.weights))),
        )


def gradient_flow(
    estimator_or_model: Any,
    data: Any,
    *,
    num_rows: int = 16,
    num_probes: int | None = 32,
    seed: int = 0,
) -> pd.DataFrame:
    """Measures how loss and last state depend on the state k steps before.

    Of each recurrent layer and direction, with weights as they are, without dropout.
    Gradients are exact, by differentiating Keras's own cells; a lag counts back from
    the last step a layer runs on a row, which is a segment where a forecaster reads
    segments. `h` and an LSTM's `c` are held apart: the gradient with respect to one
    leaves the other as it is.

    Args:
        estimator_or_model: A fitted `TextClassifier` or `Forecaster`, or a compiled
            model of a builder (any with a `RecurrentEncoder`).
        data: `(texts, labels)`; a long frame; or, for a model, `(inputs, targets)`.
        num_rows: Rows drawn from it.
        num_probes: Where a layer has more units, the Jacobian's norm is estimated
            with so many random vectors instead of one for each unit; None: never.
        seed: Of rows and vectors.

    Returns:
        One row per layer and lag: `layer`; `lag`; `norm`, the L2 norm of d loss /
        d h[t - k], where the loss is that of the row; `norm_c`, that of c[t - k]
        (NaN but for LSTM); `jacobian` and `jacobian_c`, the Frobenius norm of
        d h[t] / d h[t - k] and / d c[t - k], divided by the root of the units, so that
        an identity has 1; `exact`, whether these two are no estimates; `influence`,
        how much the network's outputs change if the layer's state after step t - k is
        emptied, as a share of the largest change (NaN at lags left out of a long
        row); `rows`, how many are longer than the lag. All are root mean squares over
        these rows.

    Raises:
        TypeError, ValueError: If an argument breaks a rule; the message names it.

    Example:
        >>> from keras_seq import diagnostics
        >>> flow = diagnostics.gradient_flow(clf, (texts, labels))    # doctest: +SKIP

    Reference:
        Pascanu et al., 2013, On the difficulty of training recurrent neural networks.
    """
    return inspect_gradients(
        estimator_or_model,
        data,
        num_rows=num_rows,
        num_probes=num_probes,
        seed=seed,
    ).flow


def inspect_gradients(
    estimator_or_model: Any,
    data: Any,
    *,
    num_rows: int = 16,
    num_probes: int | None = 32,
    seed: int = 0,
) -> GradientReport:
    """`gradient_flow` with memory horizon, weights, gates, and what is wrong.

    Args:
        estimator_or_model: As in `gradient_flow`, and so are the others.
        data: What to measure on.
        num_rows: Rows drawn from it.
        num_probes: Random vectors for the Jacobian's norm.
        seed: Of rows and vectors.

    Returns:
        `str()` of it names the memory horizon of each layer, and advises.
    """
    probe = make_probe(
        estimator_or_model, network_of(estimator_or_model), data, num_rows, seed
    )
    return measure(probe, num_probes, seed)


def make_probe(
    owner: Any, model: keras.Model, data: Any, num_rows: int, seed: int
) -> Probe:
    """A probe of `model` on rows of `data`, which `owner` knows how to prepare."""
    check_backend()
    if not model.compiled:
        raise ValueError(
            "`estimator_or_model` must be compiled, since its loss is differentiated. "
            f"Received: {model.name!r}, not compiled"
        )
    return Probe(model, *draw_batch(owner, data, num_rows, seed))


def measure(probe: Probe, num_probes: int | None, seed: int) -> GradientReport:
    """All tables, of the weights as they are now."""
    if num_probes is not None:
        check_integer("num_probes", num_probes, 1)
    loss, of_outputs, of_weights = probe.gradients()
    flow = flow_table(probe, of_outputs, num_probes, seed)
    memory, flow = memory_table(probe, flow)
    gates = gate_table(probe)
    findings = find(probe, flow, memory, gates)
    weights = weight_table(probe, of_weights)
    return GradientReport(flow, memory, weights, gates, findings, loss)


class RecordGradientFlow(keras.callbacks.Callback):
    """Measures the gradient flow as training begins and after its epochs.

    Args:
        data: As in `gradient_flow`.
        estimator: The one that trains, if one does; its preprocessing prepares `data`.
        every: Epochs between two measurements.
        num_rows: As in `gradient_flow`.
        num_probes: As in `gradient_flow`.
        seed: As in `gradient_flow`.

    Attributes:
        flow_: That of `gradient_flow`, with a column `epoch`, 0 before the first. Of
            the last training: an estimator's `fit` may train twice.
        reports_: `GradientReport` by epoch.

    Example:
        >>> record = RecordGradientFlow((texts, labels), clf)         # doctest: +SKIP
        >>> clf.fit(texts, labels, callbacks=[record])                # doctest: +SKIP
        >>> keras_seq.plotting.plot_gradient_flow(record.flow_)       # doctest: +SKIP
    """

    def __init__(
        self,
        data: Any,
        estimator: Any = None,
        *,
        every: int = 1,
        num_rows: int = 16,
        num_probes: int | None = 32,
        seed: int = 0,
    ):
        super().__init__()
        self.data = data
        self.estimator = estimator
        self.every = check_integer("every", every, 1)
        self.num_rows = num_rows
        self.num_probes = num_probes
        self.seed = seed

    def on_train_begin(self, logs: Any = None) -> None:
        owner = self.model if self.estimator is None else self.estimator
        self._probe = make_probe(owner, self.model, self.data, self.num_rows, self.seed)
        self.reports_: dict[int, GradientReport] = {}
        self._measure(0)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if (epoch + 1) % self.every == 0:
            self._measure(epoch + 1)

    def on_train_end(self, logs: Any = None) -> None:
        del self._probe  # holds what was compiled

    def _measure(self, epoch: int) -> None:
        self.reports_[epoch] = measure(self._probe, self.num_probes, self.seed)

    @property
    def flow_(self) -> pd.DataFrame:
        frames = [r.flow.assign(epoch=e) for e, r in self.reports_.items()]
        return pd.concat(frames, ignore_index=True)
