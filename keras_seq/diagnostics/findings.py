"""What is wrong with the gradients of a network, the measured reason, the remedy."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
import pandas as pd

from keras_seq.diagnostics.probe import Probe

# The product of a row's Jacobians that counts as exploding, and as vanishing.
GROWN, SHRUNK = 10.0, 0.01
# A memory of this share of the row, or more, is no finding.
ENOUGH = 0.8
# Share of values at their limits from which on a gate is called saturated.
MOST = 0.5


Gates = dict[str, dict[str, float]]


class Finding(NamedTuple):
    """One thing that is wrong.

    Attributes:
        kind: `"exploding"`, `"vanishing"`, `"held"` (remembered, but out of the
            gradient's reach) or `"saturated"`.
        layer: Such as `"encoder/forward_0"`.
        reason: What was measured.
        remedy: What to do.
        change: The remedy as arguments of a builder, as far as one batch tells.
    """

    kind: str
    layer: str
    reason: str
    remedy: str
    change: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.kind}, {self.layer}: {self.reason}. {self.remedy}."


def find(
    probe: Probe, flow: pd.DataFrame, memory: pd.DataFrame, gates: pd.DataFrame
) -> list[Finding]:
    """What stands out in the tables of `keras_seq.diagnostics.flow`."""
    findings: list[Finding] = []
    horizons = memory.set_index("layer")["horizon"]
    segments = "segments" in [layer.name for layer in probe.model.layers]
    unit = "segments" if segments else "steps"
    heard = bool((flow["influence"] > 0).any())  # the outputs depend on some state
    for name in probe.layers:
        own = flow[flow["layer"] == name]
        gate = _by_name(gates[gates["layer"] == name])
        squares = own[["jacobian", "jacobian_c"]].fillna(0.0).to_numpy() ** 2
        reach = np.sqrt(squares.sum(axis=1))  # of h and c together, by lag
        layer = probe.layers[name]
        if finding := _exploding(name, reach):
            findings.append(finding)
        elif heard:
            horizon = int(horizons[name])
            norms = np.hypot(*own[["norm", "norm_c"]].fillna(0.0).to_numpy(float).T)
            if finding := _vanishing(name, layer, reach, horizon, gate, unit):
                findings.append(finding)
            elif finding := _held(name, layer, reach, norms, horizon, unit):
                findings.append(finding)
        findings += _saturated(name, probe.model, gate)
    return findings


def _by_name(gates: pd.DataFrame) -> Gates:
    rows = gates.to_dict("records")
    return {str(row["gate"]): {str(k): v for k, v in row.items()} for row in rows}


def _exploding(name: str, reach: np.ndarray) -> Finding | None:
    if len(reach) < 3:
        return None
    finite = np.isfinite(reach).all()
    peak = int(np.argmax(reach)) if finite else int(np.argmin(np.isfinite(reach)))
    if finite and (peak < 2 or reach[peak] < GROWN * reach[1]):
        return None
    if finite:
        factor = (reach[peak] / reach[1]) ** (1 / (peak - 1))
        times = reach[peak] / reach[1]
        reason = (
            f"the state's Jacobian is {times:.3g} times as large at lag {peak} as at "
            f"lag 1; each step multiplies it by {factor:.3f}"
        )
    else:
        reason = f"the state's Jacobian leaves the range of numbers at lag {peak}"
    return Finding(
        "exploding",
        name,
        reason,
        "Clip the gradient: `suggest_clipping` measures at which `global_clipnorm`",
        {},  # which depends on the training, not on this batch
    )


def _held(
    name: str,
    layer: Any,
    reach: np.ndarray,
    norms: np.ndarray,
    horizon: int,
    unit: str,
) -> Finding | None:
    """A memory that reaches far by states which no gradient passes.

    A unit that is held at its limit keeps what it has and learns no more (Bengio et
    al. 1994): so do networks that solve a task, and networks that are stuck.
    """
    small = SHRUNK * norms.max(initial=0.0)
    last = int(np.flatnonzero(norms >= small)[-1]) if small > 0 else 0
    vanished = len(reach) >= 3 and reach[-1] < SHRUNK * reach[1]
    if not vanished or 2 * last >= horizon:
        return None
    change, remedy = _open_gates(layer, len(reach))
    return Finding(
        "held",
        name,
        f"states up to {horizon} {unit} back change the outputs, but from lag "
        f"{last + 1} on less than 1 % of the gradient arrives: what is held so long is "
        "learned no further",
        f"If the network is right by now, leave it; if not, {remedy}",
        change,
    )


def _vanishing(
    name: str, layer: Any, reach: np.ndarray, horizon: int, gate: Gates, unit: str
) -> Finding | None:
    lookback = len(reach)
    below = np.flatnonzero(reach < SHRUNK * reach[1:2].max(initial=0.0))
    far = below[below > 1]
    vanished = len(far) and reach[-1] < SHRUNK * reach[1]
    if lookback < 3 or not vanished or horizon >= ENOUGH * (lookback - 1):
        return None
    measured = (
        f"the state's Jacobian falls below 1 % of that at lag 1 from lag {far[0]} on, "
        f"and states older than {horizon} of {lookback} {unit} change the outputs "
        "by less than 1 %"
    )
    change, remedy = _open_gates(layer, lookback)
    if isinstance(layer, keras.layers.LSTM):
        keeps = gate["forget"]["mean"]
        cause = f"the forget gates keep {keeps:.3f} of the cell in each step"
    else:
        cause = f"tanh passes on less the farther h is from 0, {_size(gate)}"
        if isinstance(layer, keras.layers.GRU):
            keeps = gate["update"]["mean"]
            cause = f"the update gates keep {keeps:.3f} of the state in each step"
    remedy = (
        f"If older {unit} matter, {remedy}, and where only the last state is read, "
        "pooling over all of them gives each a short way to the loss; if not, "
        f"{max(horizon, 1)} {unit} (`lookback`, `max_length`) cost less"
    )
    return Finding("vanishing", name, f"{measured}: {cause}", remedy, change)


def _open_gates(layer: Any, lookback: int) -> tuple[dict[str, Any], str]:
    """Arguments with which a state lasts so many steps, and what they do."""
    change: dict[str, Any] = {"memory_steps": lookback}
    remedy = f"memory_steps={lookback} sets the gates so that units keep what they have"
    if not isinstance(layer, keras.layers.LSTM | keras.layers.GRU):
        change = {"cell": "lstm", **change}
        remedy = f"cell='lstm' with memory_steps={lookback} has units that keep theirs"
    return change, f"{remedy} for up to {lookback} steps"


def _size(gate: Gates) -> str:
    if "h" not in gate:
        return "and the activation is another"
    return f"which is {gate['h']['mean']:.2f} away on average"


def _saturated(name: str, model: keras.Model, gate: Gates) -> Iterator[Finding]:
    rate = float(np.asarray(model.optimizer.learning_rate))
    lower = float(f"{rate / 3:.2g}")
    for what, row in gate.items():
        closed = what in ("input", "output", "forget") and row["low"] > MOST
        full = what in ("h", "tanh(c)") and row["high"] > MOST
        if not closed and not full:
            continue
        share = row["low"] if closed else row["high"]
        limits = "below 0.05" if closed else "beyond 0.95 in size"
        yield Finding(
            "saturated",
            name,
            f"{share:.0%} of the values of {what} are {limits}, where almost no "
            "gradient passes",
            f"Lower the learning rate, such as from {rate:.2g} to {lower:.2g}, or the "
            "size of the inputs",
            {"learning_rate": lower},
        )
