#!/usr/bin/env python3
"""Fetches and unpacks the archives that a build without root is made from (jobs/archives.txt).

    jobs/archives.py fetch FOLDER GROUP...            downloads what FOLDER lacks
    jobs/archives.py unpack FOLDER INTO GROUP...      unpacks the archives of FOLDER into INTO

Each archive is held to its SHA-256. `fetch` needs pip for the wheels. `unpack` needs no network. Both continue where an earlier call was
interrupted. Runs with Python 3.6 or newer.
"""

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zipfile
from collections import namedtuple
from pathlib import Path

LIST = Path(__file__).resolve().parent / "archives.txt"
GROUPS = ("base", "gpu", "nvcc")
# Wheels are for these systems. The Python version matters only for their names: no Python runs in the program.
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in (28, 27, 25, 18, 17)]
PLATFORMS += ["manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64"]
WHEELS_FOR = ["--only-binary=:all:", "--python-version=312", "--implementation=cp", "--abi=cp312", "--abi=none"]
WHEELS_FOR += ["--platform=" + platform for platform in PLATFORMS]

Archive = namedtuple("Archive", "group sha256 origin")  # origin: name==version of a wheel, or the address of a source archive


class FetchError(Exception):
    """An error for the user."""


def wanted_archives(groups: list) -> list:
    """The archives of some groups, in the order of the list."""
    rows = [line.split() for line in LIST.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    return [archive for archive in (Archive(*row) for row in rows) if archive.group in groups]


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def files_there(folder: Path) -> dict:
    """The files of a folder by their SHA-256."""
    return {sha256_of(path): path for path in sorted(folder.iterdir()) if path.suffix in (".whl", ".gz")}


def pip_command(scratch: Path) -> list:
    """The command that starts pip. A Python without pip may be able to make an environment with it."""
    if subprocess.run([sys.executable, "-m", "pip", "--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0:
        return [sys.executable, "-m", "pip"]
    made = subprocess.run([sys.executable, "-m", "venv", str(scratch / "pip")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if made.returncode != 0:
        raise FetchError(
            f"{sys.executable} has neither pip nor venv, and the wheels are downloaded by pip. Try `module load Python`, or run "
            "`jobs/build.sh --fetch FOLDER` on another machine and `jobs/build.sh --prefix DIR --from FOLDER` here"
        )
    return [str(scratch / "pip" / "bin" / "python"), "-m", "pip"]


def fetch_wheels(wheels: list, folder: Path, scratch: Path) -> None:
    """Downloads wheels with pip, which holds them to their SHA-256."""
    requirements = scratch / "requirements.txt"
    requirements.write_text("".join(f"{wheel.origin} --hash=sha256:{wheel.sha256}\n" for wheel in wheels), encoding="utf-8")
    command = [*pip_command(scratch), "download", "--quiet", "--no-input", "--disable-pip-version-check", "--no-cache-dir", "--no-deps"]
    command += ["--require-hashes", *WHEELS_FOR, "--dest", str(folder), "--requirement", str(requirements)]
    if subprocess.run(command, stdin=subprocess.DEVNULL).returncode != 0:
        raise FetchError("pip could not download the wheels (its message is above); run the same command again to continue")


def fetch_source(source: Archive, folder: Path) -> None:
    """Downloads a source archive. A file of another SHA-256 never gets the final name."""
    target = folder / source.origin.rsplit("/", 1)[1]
    part = target.with_name(target.name + ".part")
    try:
        with urllib.request.urlopen(source.origin, timeout=60) as answer, part.open("wb") as file:
            shutil.copyfileobj(answer, file)
    except OSError as error:
        raise FetchError(f"{source.origin}: {error}; put the file into {folder} yourself, or try again") from error
    found = sha256_of(part)
    if found != source.sha256:
        raise FetchError(f"{source.origin} has the SHA-256 {found} instead of {source.sha256}; remove {part} and try again")
    part.replace(target)


def fetch(folder: Path, groups: list) -> None:
    """Downloads the archives that the folder lacks."""
    folder.mkdir(parents=True, exist_ok=True)
    there = files_there(folder)
    missing = [archive for archive in wanted_archives(groups) if archive.sha256 not in there]
    with tempfile.TemporaryDirectory(prefix="wan_fetch_", dir=str(folder)) as scratch:
        wheels = [archive for archive in missing if "==" in archive.origin]
        if wheels:
            fetch_wheels(wheels, folder, Path(scratch))
    for archive in missing:
        if "==" not in archive.origin:
            fetch_source(archive, folder)
    files_of_archives(folder, groups)
    print(f"archives: {len(wanted_archives(groups))} files in {folder}, {len(missing)} of them new")


def files_of_archives(folder: Path, groups: list) -> list:
    """All wanted archives with their files. Raises FetchError where one is missing or is not what was recorded."""
    there = files_there(folder) if folder.is_dir() else {}
    missing = [archive.origin for archive in wanted_archives(groups) if archive.sha256 not in there]
    if missing:
        raise FetchError(
            f"{folder} lacks, or has with another SHA-256: {', '.join(missing)}. `jobs/build.sh --fetch {folder}` downloads them"
        )
    return [(archive, there[archive.sha256]) for archive in wanted_archives(groups)]


def unpack_wheel(path: Path, into: Path) -> None:
    """Unpacks a wheel and keeps which files are programs."""
    with zipfile.ZipFile(str(path)) as wheel:
        for entry in wheel.infolist():
            wheel.extract(entry, str(into))  # refuses names that leave the folder
            mode = entry.external_attr >> 16
            if mode & 0o100:
                (into / entry.filename).chmod(0o755)


def unpack_source(path: Path, into: Path) -> None:
    """Unpacks a source archive into the folder `sources`."""
    with tarfile.open(str(path)) as archive:
        for member in archive.getmembers():
            if member.name.startswith("/") or ".." in Path(member.name).parts or not (member.isfile() or member.isdir() or member.issym()):
                raise FetchError(f"{path}: the member '{member.name}' is refused")
        archive.extractall(str(into / "sources"))  # held to its SHA-256


def unpack(folder: Path, into: Path, groups: list) -> None:
    """Unpacks the wanted archives that are not unpacked yet."""
    into.mkdir(parents=True, exist_ok=True)
    stamps = into / ".unpacked"
    stamps.mkdir(exist_ok=True)
    done = 0
    for archive, path in files_of_archives(folder, groups):
        stamp = stamps / archive.sha256
        if stamp.exists():
            continue
        (unpack_wheel if "==" in archive.origin else unpack_source)(path, into)
        stamp.touch()
        done += 1
    print(f"archives: {done} unpacked into {into}")


def main(words: list) -> None:
    """Does what the command line says."""
    if len(words) >= 3 and words[0] == "fetch" and set(words[2:]) <= set(GROUPS):
        fetch(Path(words[1]).resolve(), words[2:])
    elif len(words) >= 4 and words[0] == "unpack" and set(words[3:]) <= set(GROUPS):
        unpack(Path(words[1]).resolve(), Path(words[2]).resolve(), words[3:])
    else:
        raise FetchError("see the head of the script for its arguments")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (FetchError, OSError, zipfile.BadZipFile, tarfile.TarError) as problem:
        print(f"archives.py: error: {problem}", file=sys.stderr)
        sys.exit(1)
