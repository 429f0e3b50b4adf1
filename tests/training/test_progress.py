"""Progress fills one line of a terminal, one output of a notebook."""

import sys
from types import SimpleNamespace

import pytest

from keras_seq.training.progress import Progress


def _train(progress: Progress, epochs: int, steps: int) -> None:
    progress.on_train_begin()
    for epoch in range(epochs):
        for step in range(steps):
            progress.shown -= 60  # a minute has gone by
            progress.on_train_batch_end(step)
        progress.shown -= 60
        progress.on_epoch_end(epoch, {"loss": 1.0 / (epoch + 1)})
    progress.on_train_end()


def test_a_log_file_sees_lines(capsys):
    _train(Progress(2, 3, "fit"), 2, 3)
    shown = capsys.readouterr().out
    assert "\r" not in shown
    lines = shown.splitlines()
    assert len(lines) == 2 * 3 + 1
    assert lines[-1].startswith("fit: epoch 2/2, loss 0.5")


def test_a_terminal_sees_one_line(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    _train(Progress(2, 3, "fit"), 2, 3)
    shown = capsys.readouterr().out
    assert shown.count("\n") == 1
    assert shown.endswith("\n")
    assert shown.count("\r") == 2 * (3 + 1) + 1


def test_a_notebook_sees_one_output_that_is_replaced(capsys, monkeypatch):
    shown, replaced = [], []

    class Handle:
        def update(self, bundle, raw):
            replaced.append(bundle)

    def display(bundle, raw, display_id):
        shown.append(bundle)
        return Handle()

    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "ipykernel", SimpleNamespace())
    monkeypatch.setitem(
        sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell)
    )
    monkeypatch.setitem(
        sys.modules, "IPython.display", SimpleNamespace(display=display)
    )
    _train(Progress(2, 3, "<fit>"), 2, 3)
    assert capsys.readouterr().out == ""
    assert len(shown) == 1
    assert len(replaced) == 2 * (3 + 1)
    assert replaced[-1]["text/plain"].startswith("<fit>: epoch 2/2, loss 0.5")
    assert "&lt;fit&gt;" in replaced[-1]["text/html"]


def test_ipykernel_without_a_page_is_no_notebook(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipykernel", SimpleNamespace())
    none = SimpleNamespace(get_ipython=lambda: None)
    monkeypatch.setitem(sys.modules, "IPython", none)
    _train(Progress(1, 1, "fit"), 1, 1)
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.parametrize("epochs_done", [0, 1])
def test_resumed_training_counts_from_where_it_was(capsys, epochs_done):
    progress = Progress(3, 2, "fit", epochs_done)
    progress.on_train_begin()
    progress.on_train_batch_end(0)
    progress.on_train_end()
    assert f"epoch {epochs_done + 1}/3" in capsys.readouterr().out
