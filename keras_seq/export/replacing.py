"""Files and folders that are whole or not there, several at a time."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replaced_paths(target: Path) -> Iterator[Path]:
    """A new folder beside `target`, whose contents take its place at the end.

    What the block writes in it as `target.name`, a file or a folder, and files whose
    names begin so, are moved beside `target` under their names; what stood there is
    moved aside before, and removed once all is in place. Where the block fails,
    everything stays as it was.

    Args:
        target: Its folder must exist.

    Yields:
        The temporary folder.
    """
    prefix = f".{target.name}."
    folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=prefix))
    aside = folder / ".replaced"
    try:
        yield folder
        written = sorted(path for path in folder.iterdir())
        aside.mkdir()
        moved: list[tuple[Path, bool]] = []
        try:
            for path in written:
                place = target.with_name(path.name)
                existed = place.exists() or place.is_symlink()
                if existed:
                    os.replace(place, aside / path.name)
                moved.append((place, existed))
                os.replace(path, place)
        except OSError:
            for place, existed in reversed(moved):
                if place.exists():
                    os.replace(place, folder / place.name)
                if existed:
                    os.replace(aside / place.name, place)
            raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
