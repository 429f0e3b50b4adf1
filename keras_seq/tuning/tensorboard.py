"""Trials for TensorBoard: event files that its HParams page reads."""

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_seq.files import replace_file
from keras_seq.tuning.trial import Outcome
from keras_seq.tuning.trial_log import Trial


def write_trial(folder: Path, trial: Trial, objective: str) -> None:
    """Writes a finished trial, for `tensorboard --logdir folder`.

    Goes to `folder/trial-0003`, in place of what an earlier call wrote there, and the
    same with other seeds to folders within, which TensorBoard averages. The arguments
    of the trial are its hyperparameters; all scores of its validation part are its
    metrics, at steps that are percent of its whole training; why it failed is a text.

    Arguments that are None are left out. TensorBoard sorts a column of numbers with
    gaps, but none that mixes numbers and text.

    Args:
        folder: Holds a folder for each trial; made if missing.
        trial: The trial.
        objective: Name of its score.

    Raises:
        ModuleNotFoundError: If tensorboard is not installed.
    """
    run = Path(folder) / f"trial-{trial.trial:04d}"
    _write_run(run, run.name, trial, trial.outcomes, objective)
    for seed, outcome in trial.repeats.items():
        _write_run(run / f"seed-{seed}", run.name, trial, {1.0: outcome}, objective)


def _write_run(
    run: Path,
    group: str,
    trial: Trial,
    outcomes: Mapping[float, Outcome],
    objective: str,
) -> None:
    """Writes what TensorBoard calls a session, one of a group with equal arguments."""
    try:
        from tensorboard.compat.proto import event_pb2
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb

        # tensorboard 2.21's EventFileWriter imports TensorFlow; this does not.
        from tensorboard.summary.writer.record_writer import RecordWriter
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Logs for TensorBoard need the package tensorboard: pip install tensorboard"
        ) from error
    now = time.time()
    in_order = sorted(outcomes.items())
    began = now - sum(outcome.seconds for _, outcome in in_order)
    summaries = [(0, hparams_pb(_hyperparameters(trial), group, began))]
    for part, outcome in in_order:
        step = round(100 * part)
        summaries += [(step, summary) for summary in _scores(outcome, objective)]
    summaries.append((0, _end(failed=in_order[-1][1].score is None, now=now)))
    events = [
        event_pb2.Event(wall_time=now, file_version="brain.Event:2"),
        *(
            event_pb2.Event(wall_time=now, step=step, summary=summary)
            for step, summary in summaries
        ),
    ]
    run.mkdir(parents=True, exist_ok=True)
    with replace_file(run / "events.out.tfevents.trial") as file:
        writer = RecordWriter(file)
        for event in events:
            writer.write(event.SerializeToString())


def _hyperparameters(trial: Trial) -> dict[str, Any]:
    values = trial.values or {}
    found: dict[str, Any] = {}
    for name, value in trial.params.items():
        own = values.get(name)
        if isinstance(value, str) and isinstance(own, float):
            value = own  # what "auto" stands for in a range: numbers stay a column
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, float) and not math.isfinite(value):
            value = str(value)
        if isinstance(value, list | tuple):
            value = str(tuple(value))  # the same before and after JSON made it a list
        if value is not None:
            simple = isinstance(value, str | bool | int | float)
            found[name] = value if simple else str(value)
    return found


def _scores(outcome: Outcome, objective: str) -> list[Any]:
    from tensorboard.plugins.scalar.summary_v2 import scalar_pb
    from tensorboard.plugins.text.summary_v2 import text_pb

    scores = {**outcome.validation, objective: outcome.score}
    known = [
        scalar_pb(name, score) for name, score in scores.items() if score is not None
    ]
    return known + ([text_pb("message", outcome.message)] if outcome.message else [])


def _end(*, failed: bool, now: float) -> Any:
    """What tensorboard's own session_end_pb says, which imports TensorFlow."""
    from tensorboard.compat.proto import summary_pb2
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    end = plugin_data_pb2.SessionEndInfo(
        status=api_pb2.STATUS_FAILURE if failed else api_pb2.STATUS_SUCCESS,
        end_time_secs=now,
    )
    data = plugin_data_pb2.HParamsPluginData(session_end_info=end)
    summary = summary_pb2.Summary()
    summary.value.add(
        tag=metadata.SESSION_END_INFO_TAG,
        metadata=metadata.create_summary_metadata(data),
        tensor=metadata.NULL_TENSOR,
    )
    return summary
