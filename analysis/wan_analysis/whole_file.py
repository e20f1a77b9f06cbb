"""Files that are there in whole or not at all: a full disk, a kill or a second call at the same time leaves the earlier one."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Writes a file by a rename; a device, a pipe or the target of a link is written to. Throws OSError with the name of `path`."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            path.write_text(text, encoding="utf-8")
            return
        try:
            draft.write_text(text, encoding="utf-8")
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
