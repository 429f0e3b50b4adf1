"""The examples of the README, in both languages, run as they stand."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"


def _examples(path: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", path.read_text("utf-8"), re.DOTALL)


def _code(example: str) -> str:
    return re.sub(r"  # .*", "", example)


EXAMPLES = _examples(README)
# Those that the English page does not have; the others differ in comments alone.
KNOWN = {_code(example) for example in EXAMPLES}
CHINESE_ONLY = [e for e in _examples(CHINESE) if _code(e) not in KNOWN]


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: e.splitlines()[0][:60])
def test_example_runs(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(example, str(README), "exec"), {})


@pytest.mark.slow
def test_chinese_example_tells_good_from_bad(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (example,) = CHINESE_ONLY
    names = {}
    exec(compile(example, str(CHINESE), "exec"), names)
    said = names["clf"].predict(["饺子很好吃，送得也快", "米饭都凉了，很失望"])
    assert said.tolist() == ["好评", "差评"]


def test_both_languages_say_the_same():
    pages = [path.read_text("utf-8") for path in (README, CHINESE)]
    assert {_code(example) for example in _examples(CHINESE)} >= KNOWN
    english, chinese = (re.findall(r"^(#+) ", page, re.M) for page in pages)
    assert english == chinese
    # Every figure, and every argument, of one is in the other.
    for pattern in (r"\d[\d,.]*\d", r"`[a-z_]+=[^`]+`", r"\]\(([^)#]+)\)"):
        tables = [re.sub(r"```.*?```", "", page, flags=re.S) for page in pages]
        first, second = (set(re.findall(pattern, table)) for table in tables)
        missing = first - second - {"README.zh-CN.md"}
        assert not missing, missing
    links = re.findall(r"\]\(([^)#:]+)\)", "".join(pages))
    assert all((ROOT / link).exists() for link in links)


def test_main_examples_are_ten_lines():
    for example in EXAMPLES[:2]:
        assert "load(" in example  # from data to a saved model that is used again
        assert len([row for row in example.splitlines() if row.strip()]) <= 10
