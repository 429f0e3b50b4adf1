"""The notebooks run from top to bottom, and each is the script beside it, run."""

from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SHORT = ("stateful_streams", "classify_text")


def _by_length():
    """Each notebook; those that take minutes are marked so."""
    for path in NOTEBOOKS:
        name = "slow" if path.stem in SHORT else "exhaustive"
        yield pytest.param(path, marks=getattr(pytest.mark, name))


@pytest.mark.parametrize("path", list(_by_length()), ids=lambda path: path.stem)
# jupyter_client warns of its own future folders.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_notebook_runs(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=600, resources=resources).execute()


def test_there_is_one_notebook_per_task():
    names = {path.stem for path in NOTEBOOKS}
    assert names >= {"classify_text", "forecast_series", "stateful_streams"}
    assert names == {path.stem for path in FOLDER.glob("*.py")}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_script_beside_it_is_the_notebook(path):
    notebook = nbformat.read(path, as_version=4)
    script = jupytext.read(path.with_suffix(".py"))
    pairs = [[(c.cell_type, c.source) for c in nb.cells] for nb in (notebook, script)]
    assert pairs[0] == pairs[1]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_those_of_one_run_from_top_to_bottom(path):
    cells = nbformat.read(path, as_version=4).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert [c.execution_count for c in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert not [o for o in outputs if o.output_type == "error"]
    assert not [o for o in outputs if o.get("name") == "stderr"]
