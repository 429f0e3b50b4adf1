# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Why recurrent networks forget
#
# A recurrent network reads a row step by step and keeps what it has read in a state. This
# notebook shows, first in NumPy and then with the instruments of `keras_seq.diagnostics`, why
# what lies far back gets lost, and which of the usual remedies mend it: **experiments on a task
# whose answer is known**, also where a remedy does nothing.

# %%
import warnings

import keras
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from keras_seq import build_text_classifier, diagnostics, numpy_runtime, plotting
from keras_seq.layers import RecurrentEncoder, SequencePooling

# %% [markdown]
# ## 1. Three cells
#
# All three take an input $x_t$ and a state and give a new state; $\sigma$ is the sigmoid and
# $\odot$ multiplies element by element. In Keras's layout, which `keras_seq` keeps:
#
# **SimpleRNN** (Elman 1990) $\qquad h_t = \tanh(x_t W + h_{t-1} U + b)$
#
# **LSTM** (Hochreiter & Schmidhuber 1997; Gers et al. 2000)
#
# $$[i\; f\; g\; o] = x_t W + h_{t-1} U + b$$
# $$c_t = \sigma(f) \odot c_{t-1} + \sigma(i) \odot \tanh(g), \qquad
# h_t = \sigma(o) \odot \tanh(c_t)$$
#
# **GRU** (Cho et al. 2014)
#
# $$z = \sigma(x_t W_z + h_{t-1} U_z + b_z), \quad r = \sigma(x_t W_r + h_{t-1} U_r + b_r)$$
# $$h_t = z \odot h_{t-1} + (1 - z) \odot \tanh(x_t W_g + b_g + r \odot (h_{t-1} U_g + b'_g))$$
#
# `keras_seq.numpy_runtime` has them in a few lines each. Is that what Keras computes?

# %%
random = np.random.default_rng(0)
rows = random.normal(size=(2, 7, 3)).astype("float32")
for cell in ("rnn", "lstm", "gru"):
    encoder = RecurrentEncoder(5, cell=cell)
    by_keras = np.asarray(encoder(rows, np.array([7, 4])))
    weights = [np.asarray(weight) for weight in encoder.weights]
    by_numpy, _ = numpy_runtime.run(cell, weights, rows, np.array([7, 4]))
    print(f"{cell:4s} largest difference {np.abs(by_keras - by_numpy).max():.1e}")

# %% [markdown]
# ## 2. A product of many matrices
#
# How does $h_t$ depend on $h_{t-k}$? By the chain rule, for a SimpleRNN,
#
# $$\frac{\partial h_t}{\partial h_{t-k}} =
# \prod_{j=t-k+1}^{t} \frac{\partial h_j}{\partial h_{j-1}}, \qquad
# \frac{\partial h_j}{\partial h_{j-1}} = U\,\mathrm{diag}(1 - h_j^2)$$
#
# (rows are vectors here, so factors stand in the order of time). A product of $k$ matrices grows
# or shrinks like the $k$-th power of their size. $U$ is orthogonal below, times a gain; the inputs
# are noise, which drives $h$ away from 0, where $1 - h^2$ is below 1.


# %%
def jacobians(kernel, inputs):
    """Frobenius norms of d h[t] / d h[t-k] over the root of the units, by lag k."""
    units = len(kernel)
    weights = [np.eye(units), kernel, np.zeros(units)]
    states, _ = numpy_runtime.run("rnn", weights, inputs[None])
    product, norms = np.eye(units), [1.0]
    for h in states[0][:0:-1]:
        product = (kernel * (1 - h**2)) @ product
        norms.append(np.linalg.norm(product) / np.sqrt(units))
    return norms


units, steps = 32, 60
orthogonal = np.linalg.qr(random.normal(size=(units, units)))[0]
figure, axes = plt.subplots(1, 2, figsize=(11, 3.6), sharey=True, layout="constrained")
for ax, noise in zip(axes, (0.0, 0.5), strict=True):
    inputs = noise * random.normal(size=(steps, units))
    for gain in (0.8, 1.0, 1.2):
        ax.plot(jacobians(gain * orthogonal, inputs), label=f"gain {gain}")
    ax.set(yscale="log", ylim=(1e-9, 1e6), xlabel="lag k, steps")
    ax.set_title("no input" if not noise else f"noise of size {noise} as input")
axes[0].set_ylabel("size of d h[t] / d h[t-k]")
_ = axes[0].legend(frameon=False)

# %% [markdown]
# Without input the gain alone decides: 0.8 vanishes, 1.2 explodes, 1.0 keeps (Bengio et al. 1994;
# Pascanu et al. 2013). With input, tanh shrinks every step, and even a gain of 1 vanishes. That is
# no matter of training: a gradient that is $10^{-6}$ of its size when it arrives teaches nothing.
#
# The LSTM's way out is its memory cell. Along $c$ the factor of a step is $\sigma(f)$ alone, with
# no matrix and no tanh in between: after $k$ steps $\sigma(f)^k$ is left.

# %%
lags = np.arange(0, 201)
figure, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
for bias in (0.0, 1.0, np.log(40), np.log(200)):
    kept = numpy_runtime.sigmoid(np.array(bias)) ** lags
    ax.plot(lags, kept, label=f"forget_bias={bias:.1f}")
ax.set(xlabel="lag k, steps", ylabel="share of c[t-k] left", ylim=(0, 1))
_ = ax.legend(frameon=False)

# %% [markdown]
# With the usual bias of 1, $\sigma(1) = 0.73$: after ten steps 4 % are left. So **a fresh LSTM
# forgets as well**; it has only been given a gate that can be opened. A bias of $\log T$ keeps
# $T/(T+1)$, that is $1/e$ after $T$ steps (Tallec & Ollivier 2018). A GRU's gate $z$ starts near
# one half. `memory_steps` sets the gates of either cell, each unit's for another time up to $T$, and
# lets an LSTM take in as slowly as it forgets.
#
# ## 3. The same, measured in a network
#
# `diagnostics.gradient_flow` does this for any network of the builders, exactly and in the
# network that trains. The **copy task**: a cue, token 2 or 3, then 40 tokens of noise; which cue
# was it? Only the last state is read (`pooling="last"`), so the cue must survive 40 steps.

# %%
LAG = 40


def make_rows(count, seed):
    """Ragged rows of noise with a cue `LAG` steps before the end, and which cue."""
    random = np.random.default_rng(seed)
    time = LAG + 6
    tokens = random.integers(4, 20, (count, time)).astype("int32")
    target = random.integers(0, 2, count)
    length = random.integers(LAG + 1, time + 1, count).astype("int32")
    tokens[np.arange(count), length - 1 - LAG] = 2 + target
    return {"tokens": tokens, "length": length}, target


def build(**arguments):
    """A one-way network that reads the last state; `arguments` are the builder's."""
    settings = {"cell": "lstm", "units": 32, "pooling": "last", "dropout": 0.0}
    settings |= {"embedding_dim": 16, "bidirectional": False, "learning_rate": 3e-3}
    settings |= {"num_classes": 2, "max_tokens": 20, "seed": 0, **arguments}
    model = build_text_classifier(**settings)
    # Keras draws embeddings so small that noise would hardly move a state.
    table = model.get_layer("embedding").embeddings
    table.assign(20 * np.asarray(table))
    return model


fresh = {
    "SimpleRNN": build(cell="rnn"),
    "GRU": build(cell="gru"),
    "LSTM": build(),
    "LSTM, forget_bias=3.7": build(forget_bias=3.7),
    "LSTM, memory_steps=46": build(memory_steps=46),
    "GRU, memory_steps=46": build(cell="gru", memory_steps=46),
}
flows = []
for name, model in fresh.items():
    flow = diagnostics.gradient_flow(model, make_rows(8, seed=1), num_probes=None)
    flows.append(flow.assign(layer=name))
(ax,) = plotting.plot_gradient_flow(pd.concat(flows, ignore_index=True))
_ = ax.set_title("d loss / d h[t-k] before training, in the sum of all paths")

# %% [markdown]
# Each row is a network, lag 0 on the left; the colour is logarithmic, and the line marks where 1 %
# of the gradient is left. Where gates begin open the gradient is level over the lags, so that it
# arrives; an LSTM's of `memory_steps` is low, since it takes in little at each step.
#
# ## 4. Who learns it?
#
# Each network is trained with Adam on up to 300 batches of 64 rows that are drawn anew. The
# **memory horizon** is the lag up to which emptying the state changes the answer: what the
# network *has learned*, where the Jacobian tells whether it *can* learn.

# %%
TEST = make_rows(512, seed=2)


def accuracy(model, data):
    said = np.asarray(model.predict_on_batch(data[0])).argmax(1)
    return float((said == data[1]).mean())


def train(model, draw, test, steps=300):
    """Trains until all is right, or out of steps; returns accuracy and steps."""
    for step in range(1, steps + 1):
        model.train_on_batch(*draw(64, seed=1000 + step))
        if step % 50 == 0 and accuracy(model, test) > 0.99:
            break
    return accuracy(model, test), step


def experiment(name, look=False, **arguments):
    model = fresh.get(name) or build(**arguments)
    score, steps = train(model, make_rows, TEST)
    row = {"network": name, "accuracy": round(score, 2), "steps": steps}
    if look:
        report = diagnostics.inspect_gradients(model, make_rows(8, seed=3))
        row["memory horizon"] = report.memory["horizon"].iloc[0]
        row["found"] = ", ".join(finding.kind for finding in report.findings)
        row["advice"] = str([finding.change for finding in report.findings])
    return row


found = pd.DataFrame([experiment(name, look=True) for name in fresh])
found.set_index("network")

# %% [markdown]
# At this length and with this much noise the three cells with their usual initial values all guess,
# the LSTM as well, and the report says why and what to change. Opening the gates is enough:
# with `memory_steps`, as advised, LSTM and GRU are right within a hundred steps, and so is an LSTM
# with a high `forget_bias`, here the soonest; at a lag of 200 it no longer learns, and they do
# (`benchmarks/copy_task.py`). (A SimpleRNN with an orthogonal kernel is not helpless: with
# embeddings as small as Keras draws them, it solves a lag of 30 within 50 steps, sooner than a
# GRU. It is noise that kills it.)
#
# ## 5. One thing changed at a time
#
# The LSTM that guessed above, again, with one argument changed.

# %%
tried = [
    found.iloc[2][["network", "accuracy", "steps"]].to_dict(),
    experiment("pooling='max'", pooling="max"),
    experiment("num_layers=3", num_layers=3),
    experiment("num_layers=3, residual=True", num_layers=3, residual=True),
    experiment("normalization='layer'", normalization="layer"),
    experiment("global_clipnorm=None", global_clipnorm=None),
    experiment("auxiliary='next_step'", auxiliary="next_step"),
]
pd.DataFrame(tried).set_index("network")

# %% [markdown]
# - **Pooling helps**, by another way: the maximum over all steps is read, so the cue has to survive no step at all. Where the answer may depend on any step, that is the first thing to change; it is the default of `TextClassifier`.
# - **Depth helped** here, at three times the cost (one seed). **Residual connections did not add to that**: they shorten the way through the layers, not the way through time.
# - **Normalisation of a layer's outputs does nothing**: what vanishes does so inside the recurrence.
# - **Clipping makes no difference**: no gradient is too long here, all are too short.
# - **The auxiliary task does nothing**: noise cannot be predicted.
#
# ## 6. Where an auxiliary task helps
#
# To predict the next token trains the state at every step, not only at the end. On pure noise
# there is nothing to predict. So let the cue come again, 8 and 16 steps later: still 24 steps
# of noise lie between its last appearance and the end, but now who remembers it for 8 steps
# predicts some tokens better.


# %%
def make_echoes(count, seed):
    """As `make_rows`, with the cue once more 8 and 16 steps after the first."""
    inputs, target = make_rows(count, seed)
    for later in (8, 16):
        steps = inputs["length"] - 1 - LAG + later
        inputs["tokens"][np.arange(count), steps] = 2 + target
    return inputs, target


echoes = []
for name, arguments in {
    "nothing changed": {},
    "auxiliary='next_step'": {"auxiliary": "next_step", "auxiliary_weight": 1.0},
}.items():
    score, steps = train(build(**arguments), make_echoes, make_echoes(512, seed=2))
    echoes.append({"network": name, "accuracy": round(score, 2), "steps": steps})
pd.DataFrame(echoes).set_index("network")

# %% [markdown]
# Without it the network guesses as before; with it, it is right within a hundred steps. So an auxiliary task helps **where remembering helps to predict**: it gives the recurrence a gradient after 8 steps, and the state that learned to hold the cue for 8 steps here holds it for 24. It is no help where the rows themselves tell nothing of what is to be remembered.
#
# ## 7. Where clipping helps
#
# Clipping shortens a gradient that is too long. It cannot lengthen one that has vanished, so
# above it changed nothing. Gradients explode where factors are above 1: below a SimpleRNN with
# ReLU, which has no tanh to hold it, and a recurrent kernel 1.6 times as large as usual, trained
# by plain gradient descent (Adam divides by the size of the gradients and hides much of this).
# The cue is 20 steps back, among noise.


# %%
def make_values(count, seed, lag=20):
    """Rows `(value, cue)`: noise, and a sign `lag` steps before the end."""
    random = np.random.default_rng(seed)
    steps = np.zeros((count, lag + 6, 2), "float32")
    steps[..., 0] = random.normal(size=(count, lag + 6))
    target = random.integers(0, 2, count)
    length = random.integers(lag + 1, lag + 7, count).astype("int32")
    steps[np.arange(count), length - 1 - lag, 1] = 2 * target - 1
    return {"steps": steps, "length": length}, target


def build_explosive(global_clipnorm=None):
    """Layers of `keras_seq` in a network of one's own."""
    keras.utils.set_random_seed(0)
    steps = keras.Input((26, 2), name="steps")
    length = keras.Input((), dtype="int32", name="length")
    with warnings.catch_warnings():  # ReLU costs the fast paths
        warnings.simplefilter("ignore")
        encoder = RecurrentEncoder(24, cell="rnn", activation="relu", name="encoder")
    encoded = encoder(steps, length)
    last = SequencePooling("last")(encoded, length)
    output = keras.layers.Dense(2, activation="softmax")(last)
    model = keras.Model({"steps": steps, "length": length}, output)
    kernel = encoder.forward[0].cell.recurrent_kernel
    kernel.assign(1.6 * np.asarray(kernel))
    optimizer = keras.optimizers.SGD(0.03, global_clipnorm=global_clipnorm)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    return model


data = make_values(1024, seed=1)
explosive = build_explosive()
for finding in diagnostics.inspect_gradients(explosive, data, num_rows=8).findings:
    print(finding)
suggestion = diagnostics.suggest_clipping(explosive, data, num_steps=50)
print(suggestion)

# %%
figure, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
test, steps = make_values(512, seed=2), 500
for name, model in {
    "not clipped": explosive,
    f"global_clipnorm={suggestion.global_clipnorm:g}": build_explosive(
        suggestion.global_clipnorm
    ),
}.items():
    losses = [
        float(model.train_on_batch(*make_values(64, seed=1000 + step)))
        for step in range(steps)
    ]
    smooth = pd.Series(losses).rolling(20, min_periods=1).median()
    ax.plot(smooth, label=f"{name}: accuracy {accuracy(model, test):.2f}")
ax.set(xlabel="step", ylabel="loss, median of 20 steps", yscale="log")
_ = ax.legend(frameon=False)

# %% [markdown]
# Without clipping the loss ends at that of a coin, $\log 2$, and stays there; clipped at the median of the rehearsed norms, the same network learns. `suggest_clipping` has set the weights back after its rehearsal.
#
# ## What to take home
#
# | trouble | helps | does not |
# |---|---|---|
# | the gradient vanishes over time | gates that start open (`memory_steps=length`), a short way to the loss (`pooling`), an auxiliary task where there is something to predict, a shorter row | clipping, normalisation of outputs, residual connections |
# | the gradient explodes | `global_clipnorm` from `suggest_clipping` | not tried here |
# | a deep stack trains badly | residual connections, normalisation | not tried here |
#
# These are single seeds of one small task; `diagnostics.inspect_gradients` measures on your network and data. A finding is no proof either: it tells what the gradients are like, and the training afterwards tells whether that was the trouble.
