"""Figures of scores, training, forecasts and explanations, drawn on Matplotlib axes.

Every function draws on the axes it is given, or on a new figure, and returns the axes:
save with `ax.figure.savefig(path)`. In a notebook, and where pyplot is in use, a new
figure is pyplot's and shows as its figures do; elsewhere nothing has to be closed.
Colours can be told apart by colour-blind readers, and follow the axes' background.
"""

from keras_seq.plotting.classes import (
    plot_confusion_matrix,
    plot_label_counts,
    plot_reliability,
)
from keras_seq.plotting.contributions import (
    plot_forecast_contributions,
    plot_text_contributions,
)
from keras_seq.plotting.forecasts import (
    plot_backtest,
    plot_forecasts,
    plot_horizon_errors,
)
from keras_seq.plotting.searches import as_numbers, plot_arguments, plot_trials
from keras_seq.plotting.training import (
    plot_gradient_flow,
    plot_history,
    plot_learning_curves,
)

__all__ = [
    "as_numbers",
    "plot_arguments",
    "plot_backtest",
    "plot_confusion_matrix",
    "plot_forecast_contributions",
    "plot_forecasts",
    "plot_gradient_flow",
    "plot_history",
    "plot_horizon_errors",
    "plot_label_counts",
    "plot_learning_curves",
    "plot_reliability",
    "plot_text_contributions",
    "plot_trials",
]
