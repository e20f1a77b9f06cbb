"""Files that are there in whole or not at all: a full disk, a kill or a second call at the same time leaves the earlier one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


@contextmanager
def whole_file(path: Path) -> Iterator[TextIO]:
    """A file to write to, which gets its name by a rename at the end. A device, a pipe or the target of a link is written to.

    Line ends are written as they are given. Throws OSError with the name of `path`.
    """
    is_special = path.is_symlink() or (path.exists() and not path.is_file())
    target = path if is_special else path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        try:
            with target.open("w", encoding="utf-8", newline="") as file:
                yield file
            if not is_special:
                target.replace(path)
        finally:
            if not is_special:
                target.unlink(missing_ok=True)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def write_whole(path: Path, text: str) -> None:
    """Writes a text as a whole_file()."""
    with whole_file(path) as file:
        file.write(text)
