"""The hub's library (huggingface_hub) for model_cache.py: turns its failures into messages and avoids settings that make it fail."""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import os
import sys
import traceback
from pathlib import Path


class CacheError(Exception):
    """A complete message: the problem and its remedy."""


NO_ROOM = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "your quota on this file system is used up",
           errno.EFBIG: "the file is larger than the file system or a limit (ulimit -f) allows"}
OFFLINE = "HF_HUB_OFFLINE is set, so the hub is not asked; unset it to download"


def is_on(variable: str) -> bool:
    """Whether an environment variable of the hub's library is set."""
    return os.environ.get(variable, "").upper() in ("1", "ON", "YES", "TRUE")


class hub_errors:  # noqa: N801  (reads as a phrase: with hub_errors(...))
    """Turns exceptions of the hub's library into messages with a remedy."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is None or isinstance(error, CacheError) or not isinstance(error, Exception):
            return
        raise CacheError(f"{self.what}: {self._reason(error)}") from error

    def _reason(self, error: Exception) -> str:
        from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

        if isinstance(error, OSError) and error.errno in NO_ROOM:
            return f"{NO_ROOM[error.errno]}; make room, or choose another --cache, and run download again: it continues"
        if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return f"cannot write {error.filename or 'to the cache'}: {error.strerror}; choose another --cache"
        status = getattr(getattr(error, "response", None), "status_code", None)
        if isinstance(error, (GatedRepoError, RepositoryNotFoundError)) or status in (401, 403):
            return f"the hub refuses access (HTTP {status}); set HF_TOKEN to a valid token, or unset a wrong one"
        if isinstance(error, HfHubHTTPError) and status is not None:
            return f"the hub answered HTTP {status}; try again later: the files that are there are kept"
        if is_on("HF_HUB_OFFLINE"):
            return OFFLINE
        of_network = type(error).__module__.startswith(("httpx", "httpcore", "requests", "urllib3"))
        if of_network or isinstance(error, (LocalEntryNotFoundError, OSError)):
            return (f"the hub cannot be reached or the transfer broke off ({type(error).__name__}); check the network, a proxy or "
                    "HF_ENDPOINT, and run download again: it continues")
        text = " ".join(str(error).split())[:200]
        return f"the hub's library failed ({type(error).__name__}: {text}); run download again: the files that are there are kept"


def home() -> Path | None:
    """The user's home folder. None if neither the environment nor the user database names one."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def prepare_library(cache: Path) -> None:
    """Changes environment variables that make the hub's library fail or print warnings. Call it before the library is loaded."""
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # our own messages cover its warnings
    if is_on("HF_HUB_ENABLE_HF_TRANSFER") and importlib.util.find_spec("hf_transfer") is None:
        os.environ["HF_HUB_ENABLE_HF_TRANSFER"] = "0"
        print("HF_HUB_ENABLE_HF_TRANSFER is set, but the package hf_transfer is not installed, so it is not used; unset the variable",
              file=sys.stderr)
    if "HF_HOME" not in os.environ and home() is None:
        os.environ["HF_HOME"] = str(cache / ".huggingface")


def do_without_xet(error: Exception) -> bool:
    """After a failure: whether the library hf_xet caused it. If so, hf_xet is not used any more."""
    from huggingface_hub import constants

    frames = traceback.extract_tb(error.__traceback__)
    is_xet = any("xet" in frame.name or "xet" in Path(frame.filename).name for frame in frames) or "xet" in str(error).lower()
    if not is_xet or constants.HF_HUB_DISABLE_XET:
        return False
    constants.HF_HUB_DISABLE_XET = True
    print(f"hf_xet failed ({type(error).__name__}), so the download continues without it; HF_HUB_DISABLE_XET=1 avoids it from the start",
          file=sys.stderr)
    return True


def do_without_hub_locks() -> None:
    """Replaces the hub library's lock by ours if flock is refused. The library would wait for ever for the lock of a killed process."""
    import huggingface_hub._local_folder
    import huggingface_hub.file_download

    for module in (huggingface_hub._local_folder, huggingface_hub.file_download):
        if hasattr(module, "WeakFileLock"):
            module.WeakFileLock = lambda *_arguments, **_options: contextlib.nullcontext()
