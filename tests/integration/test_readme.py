"""The README's examples run as they stand."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: e.splitlines()[0][:60])
def test_example_runs(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(example, str(README), "exec"), {})


def test_main_examples_are_ten_lines():
    for example in EXAMPLES[:2]:
        assert "load(" in example  # from data to a saved model that is used again
        assert len([row for row in example.splitlines() if row.strip()]) <= 10
