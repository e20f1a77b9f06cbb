"""The part of the package's definition that is computed; the rest is in pyproject.toml.

The version is the one in the checkout's CMakeLists.txt. A source distribution has no such file; there it is the version in PKG-INFO.
The build works in a temporary folder: it leaves nothing in the checkout, and nothing of an earlier build gets into a package.
"""

import atexit
import email
import runpy
import shutil
import sys
import tempfile
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).resolve().parent


def version() -> str:
    """The version. Ends the build if neither file names one."""
    named = runpy.run_path(str(HERE / "wan_analysis" / "version.py"))["checkout_version"](HERE.parent)
    if named is None and (HERE / "PKG-INFO").is_file():
        named = email.message_from_string((HERE / "PKG-INFO").read_text(encoding="utf-8"))["Version"]
    if named is None:
        sys.exit(f"{HERE}: found neither ../CMakeLists.txt of wan_batch nor PKG-INFO, so the version is not known. "
                 "Install from a checkout (pip install ./analysis) or from a source distribution.")
    return named


scratch = tempfile.mkdtemp(prefix="wan-analysis-build-")
atexit.register(shutil.rmtree, scratch, ignore_errors=True)
setup(version=version(), options={"build": {"build_base": scratch}, "egg_info": {"egg_base": scratch}})
