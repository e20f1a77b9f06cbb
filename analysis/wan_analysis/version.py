"""The version of the package: that of wan_batch, which stands in the checkout's CMakeLists.txt. analysis/setup.py runs this file."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

DISTRIBUTION = "wan-analysis"
_CHECKOUT = Path(__file__).resolve().parents[2]


def checkout_version(checkout: Path = _CHECKOUT) -> str | None:
    """The version that wan_batch's CMakeLists.txt in `checkout` names. None if there is no such file, as beside an installed package."""
    try:
        text = (checkout / "CMakeLists.txt").read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(r"^project\(wan_batch\s+VERSION\s+(\d+(?:\.\d+)*)", text, re.MULTILINE)
    return found[1] if found else None


def package_version() -> str:
    """The version of the code that runs: the checkout's, else that of the installed package, else "unknown"."""
    try:
        return checkout_version() or version(DISTRIBUTION)
    except PackageNotFoundError:
        return "unknown"
