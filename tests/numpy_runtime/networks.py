"""Keras networks with weights that hide nothing, and their inputs."""

import numpy as np

WEIGHTS_ABOVE_ZERO = ("moving_variance", "shares", "floor", "spread")


def randomize(model, seed=0, scale=0.5):
    """Sets every weight away from its start, which would hide mistakes."""
    random = np.random.default_rng(seed)
    for weight in model.weights:
        name = weight.path.rpartition("/")[2]
        value = random.normal(scale=scale, size=weight.shape)
        if name in WEIGHTS_ABOVE_ZERO:
            value = random.uniform(0.2, 2.0, size=weight.shape)
        if not name.startswith("state_"):
            weight.assign(value)


def weights_of(model):
    return {weight.path: np.asarray(weight) for weight in model.weights}


def make_window_inputs(arguments, batch=5, seed=1):
    """Windows with missing values, one of them empty, in the builder's widths."""
    random = np.random.default_rng(seed)
    lookback, horizon = arguments["lookback"], arguments["horizon"]
    target = random.lognormal(1.0, 0.7, size=(batch, lookback))
    target[0, :3] = np.nan
    target[1] = np.nan
    target[2] = 7.0
    inputs = {"target": target}
    for name, steps in (("past", lookback), ("future", lookback + horizon)):
        if width := arguments.get(f"num_{name}"):
            inputs[name] = random.normal(size=(batch, steps, width))
            inputs[name][0, 2] = np.nan
    if width := arguments.get("num_static"):
        inputs["static"] = random.normal(size=(batch, width))
        inputs["static"][3, 0] = np.nan
    inputs = {name: x.astype("float32") for name, x in inputs.items()}
    if sizes := arguments.get("static_cardinalities"):
        ids = [random.integers(size, size=batch) for size in sizes]
        inputs["static_ids"] = np.stack(ids, axis=-1).astype("int32")
    return inputs
