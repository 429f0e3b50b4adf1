"""The figures show the numbers they are given; every file is really written."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread

from keras_seq.diagnostics import ForecastExplanation, TextExplanation
from keras_seq.plotting import (
    plot_arguments,
    plot_backtest,
    plot_confusion_matrix,
    plot_forecast_contributions,
    plot_forecasts,
    plot_gradient_flow,
    plot_history,
    plot_horizon_errors,
    plot_label_counts,
    plot_learning_curves,
    plot_reliability,
    plot_text_contributions,
)


def _forecasts(ids: tuple[str, ...], start: str = "2020-01-01") -> pd.DataFrame:
    stamps = pd.date_range(start, periods=4, freq="MS")
    rows = len(ids) * 4
    middle = np.arange(rows, dtype=float) + 1000
    return pd.DataFrame(
        {
            "shop": np.repeat(ids, 4),
            "month": np.tile(stamps, len(ids)),
            "y_hat": middle,
            "y_hat_q0.1": middle - 5,
            "y_hat_q0.5": middle,
            "y_hat_q0.9": middle + 5,
        }
    )


def _history(ids: tuple[str, ...]) -> pd.DataFrame:
    stamps = pd.date_range("2015-01-01", periods=60, freq="MS")
    return pd.DataFrame(
        {
            "shop": np.repeat(ids, 60),
            "month": np.tile(stamps, len(ids)),
            "sales": np.arange(60.0 * len(ids)),
        }
    )


COLUMNS = {"id_col": "shop", "time_col": "month", "target_col": "sales"}


def test_confusion_matrix_counts_rows_by_truth() -> None:
    truth = ["a", "a", "a", "b", "b", "c"]
    guess = ["a", "b", "a", "b", "b", "a"]
    ax = plot_confusion_matrix(truth, guess)
    cells = {(t.get_position()): t.get_text().split() for t in ax.texts}
    for row, true in enumerate("abc"):
        for column, predicted in enumerate("abc"):
            pairs = list(zip(truth, guess, strict=True))
            count = pairs.count((true, predicted))
            share = count / truth.count(true)
            assert cells[column, row] == [str(count), f"{share:.1%}"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b", "c"]
    assert "66.7%" in ax.get_title()


def test_confusion_matrix_keeps_the_order_of_classes_and_their_types() -> None:
    ax = plot_confusion_matrix([True, False], [True, True], classes=[True, False])
    assert [t.get_text() for t in ax.get_xticklabels()] == ["True", "False"]


def test_confusion_matrix_of_many_classes_writes_no_numbers() -> None:
    ax = plot_confusion_matrix(range(30), range(30))
    assert not ax.texts


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, 2], [1]), "equally long.*2 labels and 1 predictions"),
        (([], []), "not empty"),
    ],
)
def test_confusion_matrix_refuses(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plot_confusion_matrix(*arguments)


def test_confusion_matrix_names_classes_that_were_forgotten() -> None:
    with pytest.raises(ValueError, match=r"Missing: \['b'\]"):
        plot_confusion_matrix(["a", "b"], ["a", "a"], classes=["a"])


def test_labels_found_missed_and_wrong() -> None:
    labels = [["a", "b"], ["a"], [], ["c"]]
    predicted = [["a"], ["a", "b"], ["c"], ["c"]]
    ax = plot_label_counts(labels, predicted)
    widths = [[bar.get_width() for bar in bars] for bars in ax.containers]
    assert widths == [[2, 0, 1], [0, 1, 0], [0, -1, -1]]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b", "c"]
    assert ax.get_title() == "All labels right in 25.0% of 4 texts"
    with pytest.raises(ValueError, match="equally long.*4 lists of labels and 1"):
        plot_label_counts(labels, [[]])
    with pytest.raises(ValueError, match=r"Missing: \['c'\]"):
        plot_label_counts(labels, predicted, classes=["a", "b"])


def test_history_marks_the_best_validation() -> None:
    history = pd.DataFrame(
        {"epoch": [1, 2, 3], "loss": [3.0, 2.0, 1.0], "val_loss": [2.0, 1.0, 1.5]}
    )
    ax = plot_history(history)
    training, validation, best = ax.lines
    np.testing.assert_array_equal(training.get_ydata(), history["loss"])
    np.testing.assert_array_equal(validation.get_ydata(), history["val_loss"])
    assert best.get_xdata()[0] == 2


def test_history_without_validation_and_by_step() -> None:
    history = pd.DataFrame({"step": [50, 100], "loss": [3.0, 2.0], "mae": [1.0, 0.5]})
    ax = plot_history(history, metric="mae")
    assert [ax.get_xlabel(), ax.get_ylabel()] == ["step", "mae"]
    assert len(ax.lines) == 1


def test_history_refuses_a_misspelt_metric_and_no_rows() -> None:
    history = pd.DataFrame({"epoch": [1], "loss": [1.0], "accuracy": [0.5]})
    with pytest.raises(ValueError, match="Did you mean 'accuracy'"):
        plot_history(history, metric="acuracy")
    with pytest.raises(ValueError, match="0 rows"):
        plot_history(history.iloc[:0])


def test_forecasts_show_history_interval_and_actual() -> None:
    ids = ("north", "south")
    forecasts = _forecasts(ids)
    actuals = forecasts[["shop", "month"]].assign(sales=1.0)
    axes = plot_forecasts(_history(ids), forecasts, actuals=actuals, **COLUMNS)
    assert [ax.get_title() for ax in axes] == ["north", "south"]
    past, ahead, after = axes[1].lines
    np.testing.assert_array_equal(past.get_ydata(), np.arange(108.0, 120.0))
    np.testing.assert_array_equal(ahead.get_ydata(), [1004, 1005, 1006, 1007])
    np.testing.assert_array_equal(after.get_ydata(), np.ones(4))
    (band,) = axes[1].collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert heights.min() == 999
    assert heights.max() == 1012
    (legend,) = axes[0].figure.legends
    shown = [text.get_text() for text in legend.get_texts()]
    assert shown == ["history", "80% interval", "forecast", "actual"]
    axes[0].figure.canvas.draw()
    ticks = [label.get_text() for label in axes[1].get_yticklabels()]
    assert "1,000" in ticks


def test_forecasts_draw_six_series_unless_told() -> None:
    ids = tuple("abcdefgh")
    assert len(plot_forecasts(_history(ids), _forecasts(ids), **COLUMNS)) == 6
    chosen = plot_forecasts(_history(ids), _forecasts(ids), ids=["h"], **COLUMNS)
    assert [ax.get_title() for ax in chosen] == ["h"]


def test_forecast_windows_of_a_backtest_are_drawn_apart() -> None:
    windows = pd.concat(
        [
            _forecasts(("a",)).assign(cutoff=1),
            _forecasts(("a",), "2020-02-01").assign(cutoff=2),
        ]
    )
    (ax,) = plot_forecasts(_history(("a",)), windows, **COLUMNS)
    _, first, second = ax.lines
    np.testing.assert_array_equal(first.get_ydata(), second.get_ydata())
    assert first.get_xdata()[0] < second.get_xdata()[0]


def test_forecasts_of_a_single_series_with_whole_numbers_as_time() -> None:
    history = pd.DataFrame({"ds": range(30), "y": np.ones(30)})
    forecasts = pd.DataFrame({"ds": [30, 31], "y_hat": [1.0, 2.0]})
    (ax,) = plot_forecasts(history, forecasts, id_col=None)
    np.testing.assert_array_equal(ax.lines[1].get_xdata(), [30, 31])


def test_forecasts_draw_on_given_axes() -> None:
    given = Figure().subplots(1, 2)
    ids = ("a", "b")
    drawn = plot_forecasts(_history(ids), _forecasts(ids), axes=given, **COLUMNS)
    assert list(drawn) == list(given)
    with pytest.raises(ValueError, match="one axes per series, 2"):
        plot_forecasts(_history(ids), _forecasts(ids), axes=given[:1], **COLUMNS)


def test_forecasts_refuse_unknown_series_and_columns() -> None:
    history, forecasts = _history(("north",)), _forecasts(("north",))
    with pytest.raises(ValueError, match="Did you mean 'north'"):
        plot_forecasts(history, forecasts, ids=["nort"], **COLUMNS)
    with pytest.raises(ValueError, match="no column 'sale'.*Did you mean 'sales'"):
        plot_forecasts(history, forecasts, **{**COLUMNS, "target_col": "sale"})


def _flow() -> pd.DataFrame:
    lags = np.arange(20)
    near, far = 0.5**lags, 0.9**lags
    frames = [
        pd.DataFrame({"layer": name, "lag": lags, "norm": norm})
        for name, norm in (("b", near), ("a", far))
    ]
    return pd.concat(frames, ignore_index=True)


def test_gradient_flow_shows_layers_and_where_one_percent_is_left() -> None:
    (ax,) = plot_gradient_flow(_flow())
    assert [label.get_text() for label in ax.get_yticklabels()] == ["b", "a"]
    (mesh,) = ax.collections
    values = np.asarray(mesh.get_array()).reshape(2, 20)
    np.testing.assert_allclose(values[0], np.maximum(0.5 ** np.arange(20), 1e-6))
    marks = sorted({float(line.get_xdata()[0]) for line in ax.lines})
    assert marks == [6, 19]  # 0.5**6 = 1.6 %, 0.5**7 = 0.8 %


def test_a_map_of_one_row_or_one_column_has_an_area() -> None:
    flow = _flow()
    for part in (flow[flow["layer"] == "a"], flow[flow["lag"] == 0]):
        (ax,) = plot_gradient_flow(part)
        rows, columns = part["layer"].nunique(), part["lag"].nunique()
        corners = ax.collections[0].get_coordinates()
        assert corners.shape == (rows + 1, columns + 1, 2)
        np.testing.assert_allclose(corners[0, :, 0], np.arange(columns + 1) - 0.5)
        np.testing.assert_allclose(corners[:, 0, 1], np.arange(rows + 1) - 0.5)


def test_gradient_flow_over_epochs_has_axes_for_each_layer() -> None:
    flow = pd.concat([_flow().assign(epoch=epoch) for epoch in (0, 1, 2)])
    given = Figure().subplots(1, 2)
    axes = plot_gradient_flow(flow, axes=given)
    assert list(axes) == list(given)
    assert [ax.get_title() for ax in axes] == ["b", "a"]
    assert [label.get_text() for label in axes[0].get_yticklabels()] == ["0", "1", "2"]
    with pytest.raises(ValueError, match="one axes per map, 2"):
        plot_gradient_flow(flow, axes=given[:1])


def test_gradient_flow_bridges_lags_left_out_and_refuses_nothing() -> None:
    flow = _flow()
    flow.loc[flow["lag"] % 2 == 1, "norm"] = np.nan
    (ax,) = plot_gradient_flow(flow)
    assert np.isfinite(np.asarray(ax.collections[0].get_array())).all()
    with pytest.raises(ValueError, match="Did you mean 'norm'"):
        plot_gradient_flow(flow, value="norms")
    with pytest.raises(ValueError, match="above 0 in 'norm'.*40 rows"):
        plot_gradient_flow(flow.assign(norm=0.0))


def test_learning_curves_show_losses_norms_and_clipping() -> None:
    history = pd.DataFrame(
        {
            "epoch": [1, 2, 3],
            "loss": [3.0, 2.0, 1.0],
            "val_loss": [2.0, 1.0, 1.5],
            "grad_norm_mean": [1.0, 0.5, 0.2],
            "grad_norm_max": [4.0, 2.0, 1.0],
            "clipped_fraction": [0.5, 0.25, 0.0],
        }
    )
    given = Figure().subplots(1, 3)
    axes = plot_learning_curves(history, axes=given)
    assert list(axes) == list(given)
    loss, norms, clipped = axes
    np.testing.assert_array_equal(loss.lines[0].get_ydata(), history["loss"])
    drawn = {line.get_label(): line.get_ydata() for line in norms.lines}
    np.testing.assert_array_equal(drawn["mean of the steps"], [1.0, 0.5, 0.2])
    np.testing.assert_array_equal(drawn["max of the steps"], [4.0, 2.0, 1.0])
    assert norms.get_yscale() == "log"
    np.testing.assert_array_equal(clipped.lines[0].get_ydata(), [0.5, 0.25, 0.0])
    members = pd.concat([history.assign(member=member) for member in (1, 2)])
    assert len(plot_learning_curves(members)[1].lines) == 4
    with pytest.raises(ValueError, match="no column 'grad_norm_mean'"):
        plot_learning_curves(history[["epoch", "loss"]])
    with pytest.raises(ValueError, match="one axes per panel, 3"):
        plot_learning_curves(history, axes=given[:2])


def test_reliability_is_the_share_right_by_bin() -> None:
    random = np.random.default_rng(0)
    first = random.uniform(size=400)
    shares = np.stack([first, 1 - first], axis=1)
    labels = np.where(random.uniform(size=400) < first**2, "a", "b")
    given = Figure().subplots()
    ax = plot_reliability(labels, shares, classes=["a", "b"], ax=given)
    assert ax is given
    sure = shares.max(axis=1)
    right = np.where(first > 0.5, "a", "b") == labels
    expected, error = {}, 0.0
    for number in range(15):
        low, high = number / 15, (number + 1) / 15
        inside = (sure > low) & (sure <= high)
        if inside.any():
            middle = round((low + high) / 2, 6)
            expected[middle] = right[inside].mean()
            error += abs(right[inside].sum() - sure[inside].sum()) / 400
    bars = ax.containers[0]
    drawn = {
        round(bar.get_x() + bar.get_width() / 2, 6): bar.get_height() for bar in bars
    }
    assert drawn == pytest.approx(expected)
    assert f"error {error:.3f}" in ax.get_title()
    with pytest.raises(ValueError, match=r"shape \(400, 2\), 3 labels"):
        plot_reliability(["a"] * 3, shares, classes=["a", "b"])
    with pytest.raises(ValueError, match=r"Missing: \['b'\]"):
        plot_reliability(labels, shares, classes=["a", "c"])


def _windows(ids: tuple[str, ...]) -> pd.DataFrame:
    frames = []
    for start, cutoff in (("2020-01-01", "2019-12-01"), ("2020-05-01", "2020-04-01")):
        frame = _forecasts(ids, start).assign(cutoff=pd.Timestamp(cutoff))
        step = np.tile(np.arange(1.0, 5.0), len(ids))
        naive = frame["y_hat"] - 2
        frames.append(frame.assign(sales=frame["y_hat"] - step, seasonal_naive=naive))
    return pd.concat(frames, ignore_index=True)


def test_backtest_shows_cutoffs_and_what_came() -> None:
    given = Figure().subplots(1, 2)
    axes = plot_backtest(_windows(("a", "b")), axes=given, **COLUMNS)
    assert list(axes) == list(given)
    drawn = {line.get_label(): line for line in axes[1].lines}
    np.testing.assert_array_equal(
        drawn["actual"].get_ydata(), [1003, 1003, 1003, 1003] * 2
    )
    np.testing.assert_array_equal(
        drawn["forecast"].get_ydata(), [1004, 1005, 1006, 1007]
    )
    assert drawn["cutoff"].get_xdata()[0] == pd.Timestamp("2019-12-01")
    assert len(axes[1].lines) == 1 + 2 * 3  # actual; of each cutoff a line and two
    assert "seasonal naive" in drawn
    with pytest.raises(ValueError, match="`windows` has no series 'c'"):
        plot_backtest(_windows(("a",)), ids=["c"], **COLUMNS)
    with pytest.raises(ValueError, match="no column 'cutoff'"):
        plot_backtest(_forecasts(("a",)).assign(sales=1.0), **COLUMNS)


def test_errors_by_horizon_step() -> None:
    windows = _windows(("a", "b"))
    given = Figure().subplots()
    ax = plot_horizon_errors(windows, relative=False, ax=given, **COLUMNS)
    assert ax is given
    drawn = {line.get_label(): line.get_ydata() for line in ax.lines}
    np.testing.assert_allclose(drawn["forecast"], [1, 2, 3, 4])
    np.testing.assert_allclose(drawn["seasonal naive"], [1, 0, 1, 2])
    # A series of other size weighs the same: the baseline misses by 1 on average.
    large = windows["shop"] == "b"
    numbers = ["y_hat", "sales", "seasonal_naive"]
    windows.loc[large, numbers] *= 100
    ax = plot_horizon_errors(windows, **COLUMNS)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [1, 2, 3, 4])
    # Rows without a value are left out, and steps stay what they are.
    some = windows.drop(windows.index[(windows["shop"] == "a")][1])
    ax = plot_horizon_errors(some, relative=False, **COLUMNS)
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), [1, 2, 3, 4])
    with pytest.raises(ValueError, match="`relative` needs a column"):
        plot_horizon_errors(windows.drop(columns="seasonal_naive"), **COLUMNS)


def _explained_text() -> TextExplanation:
    tokens = pd.DataFrame(
        {
            "token": ["the", "$5$", "prize", "x" * 40],
            "start": [0, 4, 8, 14],
            "end": [3, 7, 13, 54],
            "contribution": [0.01, 1.5, 2.0, -0.5],
            "status": "known",
        }
    )
    text = f"the $5$ prize {'x' * 40}"
    return TextExplanation(text, "spam", 0.9, 2.2, -0.8, 0.0, 8, tokens)


def test_text_contributions_are_bars_in_the_order_of_the_text() -> None:
    given = Figure().subplots()
    ax = plot_text_contributions(_explained_text(), num_tokens=3, ax=given)
    assert ax is given
    assert [bar.get_width() for bar in ax.patches] == [1.5, 2.0, -0.5]
    ax.figure.canvas.draw()
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == [r"\$5\$", "prize", "x" * 23 + "…"]
    colors = {bar.get_facecolor() for bar in ax.patches}
    assert len(colors) == 2
    assert "1 weaker token" in ax.get_title()
    assert _explained_text().plot().get_title().startswith("spam")


def _explained_forecast() -> ForecastExplanation:
    stamps = pd.date_range("2020-01-01", periods=6)
    table = pd.DataFrame(
        {
            "shop": "a",
            "horizon_step": 2,
            "input": ["sales"] * 4 + ["price"] * 6 + ["kind"],
            "month": [*stamps[:4], *stamps, pd.NaT],
            "lag": pd.array(
                [5, 4, 3, 2, 5, 4, 3, 2, 1, 0, pd.NA],
                dtype="Int64",
            ),
            "contribution": [1.0, 2, 3, -4, 0, 0, 0, 0, 0, 5, 0.5],
        }
    )
    forecasts = pd.DataFrame(
        {
            "shop": ["a"],
            "horizon_step": [2],
            "month": stamps[5:],
            "y_hat": [107.5],
            "baseline": [100.0],
            "gap": [0.0],
            "steps": [8],
        }
    )
    return ForecastExplanation(table, forecasts, "shop", "month", "sales")


def test_forecast_contributions_are_a_map_of_inputs_and_times() -> None:
    given = Figure().subplots()
    ax = plot_forecast_contributions(_explained_forecast(), ax=given)
    assert ax is given
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == ["sales  +2", "price  +5", "kind  +0.5"]
    (mesh,) = ax.collections
    values = np.ma.filled(mesh.get_array().reshape(3, 6), np.nan)
    np.testing.assert_array_equal(values[0], [1, 2, 3, -4, np.nan, np.nan])
    np.testing.assert_array_equal(values[1], [0, 0, 0, 0, 0, 5])
    assert mesh.get_clim() == (-5, 5)
    (line,) = ax.lines  # between the last step of the window and the first ahead
    stamp = pd.Timestamp("2020-01-04 12:00")
    assert pd.Timestamp(line.get_xdata()[0]) == stamp
    with pytest.raises(ValueError, match="among those explained.*step=3"):
        plot_forecast_contributions(_explained_forecast(), step=3)


def test_a_legend_stays_within_a_figure_that_makes_no_room_for_it() -> None:
    history = pd.DataFrame({"epoch": [1, 2], "loss": [1.0, 2.0]})
    for layout, inside in ((None, True), ("constrained", False)):
        ax = Figure(layout=layout).subplots()
        legend = plot_history(history, ax=ax).get_legend()
        ax.figure.draw_without_rendering()
        own, whole = legend.get_window_extent(), ax.figure.bbox
        assert whole.x0 <= own.x0 and own.x1 <= whole.x1
        assert (own.x1 <= ax.get_window_extent().x1) == inside


def test_lines_show_on_dark_axes() -> None:
    figure = Figure(facecolor="black")
    dark, clear = figure.subplots(1, 2)
    dark.set_facecolor("#111111")
    clear.set_facecolor("none")
    history = pd.DataFrame({"epoch": [1, 2], "loss": [1.0, 2.0], "val_loss": [1.0, 2]})
    for ax in (dark, clear):
        best = plot_history(history, ax=ax).lines[-1]
        assert best.get_color() == "#FFFFFF"
    light = plot_history(history).lines[-1]
    assert light.get_color() == "#000000"


def test_every_figure_is_written(tmp_path: Path) -> None:
    ids = ("a", "b", "c")
    history = pd.DataFrame({"epoch": [1, 2], "loss": [1.0, 0.5]})
    drawn: dict[str, Axes] = {
        "confusion": plot_confusion_matrix(["x", "y"], ["x", "x"]),
        "history": plot_history(history),
        "forecasts": plot_forecasts(_history(ids), _forecasts(ids), **COLUMNS)[0],
    }
    for name, ax in drawn.items():
        path = tmp_path / f"{name}.png"
        ax.figure.savefig(path)
        pixels = imread(path)[..., :3]
        assert pixels.std() > 0.01, f"{name} is blank"


def test_drawing_leaves_pyplot_alone(tmp_path: Path) -> None:
    code = (
        "import sys; from keras_seq.plotting import plot_confusion_matrix as plot;"
        "plot([1], [1]).figure.savefig(sys.argv[1]);"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "figure.png")]
    subprocess.run(command, check=True)


def test_what_is_missing_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="no missing value. Received: nan"):
        plot_confusion_matrix(["a", np.nan], ["a", "b"])
    with pytest.raises(ValueError, match="from 0 to 1. Received: nan"):
        plot_reliability(["a"], np.array([[np.nan, 1.0]]), classes=["a", "b"])
    none = _forecasts(("north",)).iloc[:0]
    with pytest.raises(ValueError, match="`forecasts` must have a row"):
        plot_forecasts(_history(("north",)), none, **COLUMNS)


def test_the_best_of_a_history_is_no_missing_value() -> None:
    values = {"loss": [3.0, np.nan, 1.0], "val_loss": [3.0, np.nan, 2.0]}
    ax = plot_history(pd.DataFrame({"epoch": [1, 2, 3], **values}))
    assert "best, epoch 3" in [line.get_label() for line in ax.lines]


def test_a_single_step_has_whole_ticks() -> None:
    ax = plot_history(pd.DataFrame({"epoch": [1], "loss": [3.0]}))
    low, high = ax.get_xlim()
    assert [tick for tick in ax.get_xticks() if low <= tick <= high] == [1]


def test_names_in_chinese_get_a_font_that_has_them(monkeypatch) -> None:
    wanted = ["DejaVu Sans", "Noto Sans CJK SC"]
    monkeypatch.setattr("keras_seq.plotting.axes.font_families", lambda: wanted)
    ax = plot_confusion_matrix(["好评", "差评"], ["好评", "ham"])
    labels = {label.get_text(): label for label in ax.get_xticklabels()}
    assert labels["好评"].get_fontfamily() == wanted
    assert labels["ham"].get_fontfamily() != wanted
    frames = [_history(("北京店",)), _forecasts(("北京店",))]
    frames[0] = frames[0].rename(columns={"sales": "销量"})
    (ax,) = plot_forecasts(*frames, **{**COLUMNS, "target_col": "销量"})
    unit = ax.figure._supylabel
    assert [unit.get_fontfamily(), ax.title.get_fontfamily()] == [wanted, wanted]


def test_trials_with_none_among_numbers_are_drawn() -> None:
    trials = {"trial": [0, 1, 2], "score": [1.0, 2.0, 3.0], "clip": [None, 0.5, 1.0]}
    (ax,) = plot_arguments(
        pd.DataFrame(trials).astype({"clip": object}),
        pd.Series({"clip": 1.0}),
        name="MASE",
    )
    (mark,) = ax.lines
    assert mark.get_ydata().tolist() == [1.0]
    assert mark.get_label() == "None"
    assert "None" in [text.get_text() for text in ax.get_legend().get_texts()]
