"""TensorBoard's own readers and its HParams page find the trials and their values."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_seq.tuning.tensorboard import write_trial
from keras_seq.tuning.trial import Outcome
from keras_seq.tuning.trial_log import Trial


def _outcome(score: float | None, **changed: Any) -> Outcome:
    scores = {} if score is None else {"loss": score, "accuracy": 0.5, "roc_auc": None}
    message = "MemoryLimit: more than 900 MB" if score is None else ""
    settings = {"seconds": 12.5, "message": message, "validation": scores}
    return Outcome(score, **{**settings, **changed})


def _trial(number: int, params: dict[str, Any], **changed: Any) -> Trial:
    outcomes = {1.0: _outcome(1 / (number + 3))}
    settings = {"values": params, "params": params, "outcomes": outcomes}
    return Trial(number, **{**settings, **changed})


TRIALS = [
    _trial(
        0,
        {"units": 32, "clip": "auto", "cell": "gru", "residual": False},
        values={"units": 1, "clip": 1.0, "cell": 0, "residual": 0},
    ),
    _trial(
        1, {"units": 64, "clip": np.float64(0.25), "cell": "lstm", "residual": True}
    ),
    _trial(12, {"units": 128, "clip": None, "cell": "lstm", "residual": True}),
    _trial(
        3,
        {"units": 16, "clip": 4.0, "cell": "gru", "residual": False},
        outcomes={1.0: _outcome(None)},
    ),
]


def _write(folder: Path) -> None:
    for trial in TRIALS:
        write_trial(folder, trial, "loss")


def _query(folder: Path, request: Any = None) -> tuple[Any, Any]:
    """What the HParams page asks for: the experiment, and its session groups."""
    from tensorboard import context
    from tensorboard.backend.event_processing import (
        data_provider,
        plugin_event_multiplexer,
    )
    from tensorboard.plugins import base_plugin
    from tensorboard.plugins.hparams import (
        api_pb2,
        backend_context,
        get_experiment,
        list_session_groups,
    )

    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(folder))
    asked = backend_context.Context(base_plugin.TBContext(data_provider=provider))
    request = request or api_pb2.ListSessionGroupsRequest()
    request.slice_size = 100
    request.allowed_statuses.extend([api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE])
    experiment = get_experiment.Handler(
        context.RequestContext(), asked, "", api_pb2.GetExperimentRequest()
    ).run()
    groups = list_session_groups.Handler(
        context.RequestContext(), asked, "", request
    ).run()
    return experiment, groups.session_groups


def _values(messages: Any) -> dict[str, Any]:
    return {
        name: getattr(value, value.WhichOneof("kind"))
        for name, value in messages.items()
    }


def test_the_hparams_page_sees_every_trial_with_its_values(tmp_path: Path) -> None:
    from tensorboard.plugins.hparams import api_pb2

    _write(tmp_path)
    experiment, groups = _query(tmp_path)
    found = {group.name: group for group in groups}
    assert {name: _values(group.hparams) for name, group in found.items()} == {
        "trial-0000": {"units": 32, "clip": 1.0, "cell": "gru", "residual": False},
        "trial-0001": {"units": 64, "clip": 0.25, "cell": "lstm", "residual": True},
        "trial-0012": {"units": 128, "cell": "lstm", "residual": True},
        "trial-0003": {"units": 16, "clip": 4.0, "cell": "gru", "residual": False},
    }
    for trial in TRIALS:
        (session,) = found[f"trial-{trial.trial:04d}"].sessions
        score = trial.outcomes[1.0].score
        expected = {} if score is None else {"loss": score, "accuracy": 0.5}
        scores = {m.name.tag: m.value for m in session.metric_values}
        assert scores == pytest.approx(expected, rel=1e-6)  # TensorBoard has float32
        assert session.end_time_secs - session.start_time_secs == pytest.approx(12.5)
        failed = score is None
        wanted = api_pb2.STATUS_FAILURE if failed else api_pb2.STATUS_SUCCESS
        assert session.status == wanted
    kinds = {info.name: info.type for info in experiment.hparam_infos}
    assert kinds == {
        "units": api_pb2.DATA_TYPE_FLOAT64,
        "clip": api_pb2.DATA_TYPE_FLOAT64,
        "cell": api_pb2.DATA_TYPE_STRING,
        "residual": api_pb2.DATA_TYPE_BOOL,
    }
    metrics = {info.name.tag for info in experiment.metric_infos}
    assert metrics == {"loss", "accuracy"}


def test_the_page_can_sort_by_a_column_with_gaps(tmp_path: Path) -> None:
    from tensorboard.plugins.hparams import api_pb2

    _write(tmp_path)
    request = api_pb2.ListSessionGroupsRequest()
    request.col_params.add(hparam="clip", order=api_pb2.ORDER_ASC)
    names = [group.name for group in _query(tmp_path, request)[1]]
    assert names == ["trial-0001", "trial-0000", "trial-0003", "trial-0012"]


def test_scores_and_messages_are_read_back_step_by_step(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing import event_accumulator
    from tensorboard.util import tensor_util

    outcomes = {
        1 / 3: _outcome(0.5),
        1 / 9: _outcome(2.0, validation={}),
        1.0: _outcome(None),
    }
    write_trial(tmp_path, _trial(7, {"units": 3}, outcomes=outcomes), "loss")
    reader = event_accumulator.EventAccumulator(str(tmp_path / "trial-0007"))
    reader.Reload()
    found = {
        tag: {
            event.step: tensor_util.make_ndarray(event.tensor_proto).item()
            for event in reader.Tensors(tag)
        }
        for tag in reader.Tags()["tensors"]
        if not tag.startswith("_hparams_/")
    }
    assert found == {
        "loss": {11: 2.0, 33: 0.5},
        "accuracy": {33: 0.5},
        "message": {100: b"MemoryLimit: more than 900 MB"},
    }


def test_repeats_with_other_seeds_are_averaged(tmp_path: Path) -> None:
    repeats = {5: _outcome(0.5), 6: _outcome(0.75)}
    trial = _trial(1, {"units": 3}, outcomes={1.0: _outcome(0.25)}, repeats=repeats)
    write_trial(tmp_path, trial, "loss")
    _, (group,) = _query(tmp_path)
    assert len(group.sessions) == 3
    means = {m.name.tag: m.value for m in group.metric_values}
    assert means == {"loss": 0.5, "accuracy": 0.5}


def test_a_second_call_replaces_the_first(tmp_path: Path) -> None:
    write_trial(tmp_path, _trial(1, {"units": 32}), "loss")
    before = sorted(tmp_path.rglob("*"))
    changed = {1.0: _outcome(0.75, validation={})}
    write_trial(tmp_path, _trial(1, {"units": 32}, outcomes=changed), "loss")
    assert sorted(tmp_path.rglob("*")) == before
    _, (group,) = _query(tmp_path)
    assert [m.value for m in group.metric_values] == [0.75]


def test_values_without_a_kind_of_their_own_become_text(tmp_path: Path) -> None:
    def of_one(value: Any) -> Any:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        write_trial(folder, _trial(0, {"value": value}, values=None), "loss")
        (group,) = _query(folder)[1]
        return _values(group.hparams).get("value", "left out")

    assert of_one((64, 32)) == of_one([64, 32]) == "(64, 32)"
    assert of_one(float("inf")) == "inf"
    assert of_one(np.int64(7)) == 7
    assert of_one(np.bool_(True)) is True
    assert of_one("auto") == "auto"
    assert of_one({"a": 1}) == "{'a': 1}"
    assert of_one(None) == "left out"


def test_writing_imports_no_tensorflow(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from keras_seq.tuning.tensorboard import write_trial\n"
        "from keras_seq.tuning.trial import Outcome\n"
        "from keras_seq.tuning.trial_log import Trial\n"
        "outcome = Outcome(0.5, 'odd', 1.0, {'loss': 0.5})\n"
        "trial = Trial(0, None, {'units': 3}, {1.0: outcome})\n"
        f"write_trial(Path({str(tmp_path)!r}), trial, 'loss')\n"
        "heavy = {'tensorflow', 'keras', 'jax'} & sys.modules.keys()\n"
        "assert not heavy, heavy\n"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "trial-0000").iterdir())


def test_a_missing_tensorboard_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "tensorboard"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ModuleNotFoundError, match="pip install tensorboard"):
        write_trial(tmp_path, TRIALS[0], "loss")
    assert not list(tmp_path.iterdir())
