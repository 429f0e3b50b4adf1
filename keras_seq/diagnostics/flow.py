"""Tables of what a `Probe` finds: by lag, by weight, by gate; the memory horizon."""

from typing import Any

import numpy as np
import pandas as pd

from keras_seq.diagnostics.probe import Probe

# Influence below this share of the largest counts as none.
SHARE = 0.01
# Lags at which states are emptied at a time, and which an answer is then refined by.
NUM_LAGS = 48
SATURATED = 0.05


def flow_table(
    probe: Probe, of_outputs: dict[str, np.ndarray], num_probes: int | None, seed: int
) -> pd.DataFrame:
    """One row per layer and lag; `gradient_flow` tells the columns."""
    frames = []
    for name, of_output in of_outputs.items():
        lengths = probe.runs[name].lengths
        rows = len(lengths)
        longest = int(lengths.max())
        norms = [rows * n for n in probe.state_gradients(name, of_output)]
        jacobians, exact = probe.jacobians(name, num_probes, seed)
        lags = np.arange(longest)
        there = lags < lengths[:, None]  # (batch, lag)

        def mean(
            values: np.ndarray, longest: int = longest, there: np.ndarray = there
        ) -> np.ndarray:
            """Root mean square over the rows that are longer than the lag."""
            values = np.where(there, values[:, :longest].astype(np.float64), 0.0)
            # Squares of 1e200 would be infinite.
            largest = np.maximum(values.max(axis=0), np.finfo(np.float64).tiny)
            squares = ((values / largest) ** 2).sum(axis=0) / there.sum(axis=0)
            return largest * np.sqrt(squares)

        columns: dict[str, Any] = {"layer": name, "lag": lags, "norm": mean(norms[0])}
        columns["norm_c"] = mean(norms[1]) if norms[1:] else np.nan
        columns["jacobian"] = mean(jacobians[0])
        columns["jacobian_c"] = mean(jacobians[1]) if norms[1:] else np.nan
        columns["exact"] = exact
        columns["rows"] = there.sum(axis=0)
        frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)


def weight_table(probe: Probe, gradients: dict[str, np.ndarray]) -> pd.DataFrame:
    """One row per trainable weight: its norm and that of its gradient."""
    values = {w.path: np.asarray(w.value) for w in probe.model.trainable_variables}
    rows = []
    for path, gradient in gradients.items():
        norm, of_loss = (
            float(np.linalg.norm(x.astype(np.float64)))
            for x in (values[path], gradient)
        )
        rows.append((path, gradient.size, norm, of_loss))
    columns = ["weight", "size", "norm", "gradient_norm"]
    return pd.DataFrame(rows, columns=columns)


def gate_table(probe: Probe) -> pd.DataFrame:
    """One row per layer and gate: where it stands, over valid steps, rows and units."""
    rows = []
    for name, layer in probe.layers.items():
        gates = probe.gates(name)
        hidden = np.abs(gates.pop("h"))
        for gate, values in gates.items():
            usual = float(np.exp(np.log(np.maximum(values, 1e-12)).mean()))
            low, high = (values < SATURATED).mean(), (values > 1 - SATURATED).mean()
            rows.append((name, gate, usual, float(low), float(high)))
        if layer.activation.__name__ != "tanh":
            continue
        squashed = {"h": hidden}
        if "output" in gates:
            squashed = {"tanh(c)": hidden / np.maximum(gates["output"], 1e-12)}
        for what, values in squashed.items():
            high = (values > 1 - SATURATED).mean()
            rows.append((name, what, float(values.mean()), 0.0, float(high)))
    return pd.DataFrame(rows, columns=["layer", "gate", "mean", "low", "high"])


def memory_table(probe: Probe, flow: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """How far back each layer, and all of a direction together, change the outputs.

    Args:
        probe: After `gradients`.
        flow: Of `flow_table`.

    Returns:
        One row per layer, and per direction with several layers; and the flow with
        the column `influence`, NaN at lags that were not measured.
    """
    lengths = next(iter(probe.runs.values())).lengths
    longest = int(lengths.max()) - 1
    groups: dict[str, tuple[str, ...]] = {name: (name,) for name in probe.layers}
    for reverse, direction in ((False, "forward"), (True, "backward")):
        names = tuple(n for n in probe.layers if probe.reverse[n] == reverse)
        if len(names) > 1:
            groups[f"all/{direction}"] = names
    found: dict[str, dict[int, float]] = {}
    for group, names in groups.items():
        found[group] = _changes(probe, names, spread_lags(longest), lengths)
    largest = max(max(c.values(), default=0.0) for c in found.values())
    # What is rounding is no influence: a head that starts from zeros has none.
    limit = SHARE * largest if largest > 1e-6 * _size(probe) else 0.0
    rows = []
    for group, changes in found.items():
        between = _next_lags(changes, limit)
        changes |= _changes(probe, groups[group], between, lengths)
        horizon = max((k for k, c in changes.items() if c >= limit > 0), default=0)
        reaches = longest > 0 and horizon >= longest
        rows.append((group, horizon, longest + 1, reaches))
    flow = flow.copy()
    flow["influence"] = [
        found[layer].get(lag, np.nan) * SHARE / limit if limit > 0 else 0.0
        for layer, lag in zip(flow["layer"], flow["lag"], strict=True)
    ]
    columns = ["layer", "horizon", "lookback", "reaches_start"]
    return pd.DataFrame(rows, columns=columns), flow


def _size(probe: Probe) -> float:
    """Root mean square of the network's outputs."""
    outputs = probe.emptied((), np.zeros(1, np.int64)).astype(np.float64)
    return float(np.sqrt((outputs**2).mean()))


def spread_lags(longest: int) -> np.ndarray:
    """Up to `NUM_LAGS` lags from 1 to the longest, evenly spaced by their logarithm."""
    if longest <= NUM_LAGS:
        return np.arange(1, longest + 1)
    return np.unique(np.geomspace(1, longest, NUM_LAGS).round().astype(np.int64))


def _next_lags(changes: dict[int, float], limit: float) -> np.ndarray:
    """Lags between the last that changes something and the next that was tried."""
    lags = np.array(sorted(changes), np.int64)
    some = [lag for lag in lags if changes[lag] >= limit > 0]
    last = some[-1] if some else 0
    after = lags[lags > last]
    if not len(after):
        return np.zeros(0, np.int64)
    num = min(NUM_LAGS, int(after[0] - last - 1))
    return np.unique(
        np.linspace(last, after[0], num + 2)[1:-1].round().astype(np.int64)
    )


def _changes(
    probe: Probe, names: tuple[str, ...], lags: np.ndarray, lengths: np.ndarray
) -> dict[int, float]:
    """Root mean square change of the outputs where states are emptied, by lag."""
    if not len(lags):
        return {}
    # At lag 0 no later step is left to be changed.
    outputs = probe.emptied(names, np.concatenate([[0], lags])).astype(np.float64)
    squares = (outputs[1:] - outputs[0]) ** 2
    squares = squares.reshape(len(lags), len(lengths), -1).mean(axis=-1)
    there = lengths > lags[:, None]  # (lags, batch)
    means = np.where(there, squares, 0.0).sum(axis=1) / np.maximum(there.sum(axis=1), 1)
    return dict(zip(lags.tolist(), np.sqrt(means).tolist(), strict=True))
