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

from keras_seq.plotting import (
    plot_confusion_matrix,
    plot_forecasts,
    plot_gradient_flow,
    plot_history,
    plot_label_counts,
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
