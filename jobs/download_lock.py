"""A lock on a checkpoint's folder. It works on file systems without flock and names its owner."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

NAME = ".wan_download.json"
BEAT_S = 5.0
#: An owner on another host that has been silent for this long is dead or disconnected.
SILENT_S = 120.0


class LockedError(Exception):
    """Another process downloads into the folder. The message names it."""


def _owner(path: Path) -> dict[str, str | int]:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return {"host": str(stored["host"]), "pid": int(stored["pid"]), "since": str(stored["since"])}
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return {"host": "unknown", "pid": 0, "since": "unknown"}


def _file_system_now(folder: Path) -> float:
    """The file server's clock, which may differ from this host's."""
    probe = folder / f"{NAME}.{socket.gethostname()}.{os.getpid()}.now"
    probe.touch()
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return pid > 0


def _clear_way(folder: Path, path: Path) -> str | None:
    """Removes the lock of a dead owner and returns a message. Throws LockedError if the owner lives. Returns None if the lock is gone."""
    try:
        silent_s = _file_system_now(folder) - path.stat().st_mtime
    except FileNotFoundError:
        return None
    owner = _owner(path)
    who = f"process {owner['pid']} on {owner['host']}, since {owner['since']}"
    is_here = owner["host"] == socket.gethostname()
    if silent_s < SILENT_S and (not is_here or _is_alive(int(owner["pid"]))):
        raise LockedError(f"{folder}: another download is at work ({who}); wait for it or stop it. If it is dead, this download continues "
                          f"{SILENT_S:.0f} s after its last sign of life; its lock is {path}")
    path.unlink(missing_ok=True)
    return f"the lock of a download that died was removed ({who}, silent for {max(silent_s, 0):.0f} s)"


def has_flock(folder: Path) -> bool:
    """Whether files in the folder can be locked."""
    probe = folder / f"{NAME}.{socket.gethostname()}.{os.getpid()}.flock"
    try:
        with probe.open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        return False
    finally:
        probe.unlink(missing_ok=True)


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[str | None]:
    """Holds the lock. Yields a message about an earlier owner, if any. Throws LockedError."""
    path = folder / NAME
    said = None
    while True:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            break
        except FileExistsError:
            said = _clear_way(folder, path) or said
    text = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S %z")})
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT_S):
            with contextlib.suppress(OSError):
                os.utime(path)

    threading.Thread(target=beat, daemon=True).start()
    try:
        yield said
    finally:
        ended.set()
        path.unlink(missing_ok=True)
