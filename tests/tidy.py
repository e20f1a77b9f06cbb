"""Runs clang-tidy on C++ sources and remembers which passed (tests/lint.sh).

    tests/tidy.py --jobs N FILE...

A header is checked with one source that includes it, by preference the one of the same name. A source that passed leaves a stamp in
build/lint/stamps, named after a hash of all that decides the outcome: the source and the project's headers that it includes, its
compile command, the .clang-tidy of the root and of its top folder, and the program's version. A source with such a stamp is not checked
again.
"""

import argparse
import functools
import hashlib
import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
STAMPS = PROJECT / "build/lint/stamps"
CLANG_TIDY = PROJECT / ".venv/bin/clang-tidy"
INCLUDE_FOLDERS = ("src", "include", "tests")
# Options that only GCC understands: its precompiled headers and its names of warnings.
GCC_ONLY = re.compile(
    r"-fpch-preprocess|-Winvalid-pch|-include \S*cmake_pch\.hxx|-Wno-(restrict|stringop-overflow|stringop-overread|maybe-uninitialized)"
)


def compile_commands():
    """The compile command of each source that the build knows, by path from the project's root."""
    entries = json.loads((PROJECT / "build/compile_commands.json").read_text())
    for entry in entries:
        # {fmt}, MPI and libstdc++ use what clang calls deprecated, in their own headers.
        entry["command"] = GCC_ONLY.sub("", entry["command"]) + " -Wno-deprecated-declarations"
    STAMPS.mkdir(parents=True, exist_ok=True)
    (STAMPS.parent / "compile_commands.json").write_text(json.dumps(entries))
    inside = [entry for entry in entries if Path(entry["file"]).is_relative_to(PROJECT)]
    return {str(Path(entry["file"]).relative_to(PROJECT)): entry["command"] for entry in inside if entry["file"].endswith(".cpp")}


@functools.cache
def included_by(path):
    """The project's own files that a file includes by itself, as paths from the project's root."""
    found = []
    for name in re.findall(r'^\s*#\s*include\s+"([^"]+)"', (PROJECT / path).read_text(), re.MULTILINE):
        for folder in (Path(path).parent, *map(Path, INCLUDE_FOLDERS)):
            if (PROJECT / folder / name).is_file():
                found.append((PROJECT / folder / name).resolve().relative_to(PROJECT).as_posix())
                break
    return found


@functools.cache
def all_included_by(path):
    """The same, and what those include in turn."""
    seen, open_paths = set(), [path]
    while open_paths:
        for name in included_by(open_paths.pop()):
            if name not in seen:
                seen.add(name)
                open_paths.append(name)
    return frozenset(seen)


def sources_for(files, commands):
    """The sources to check for these files, and the headers that no source includes."""
    sources, alone = set(), []
    for file in files:
        if file in commands:
            sources.add(file)
        elif file.endswith(".h"):
            users = [source for source in commands if file in all_included_by(source)]
            users.sort(key=lambda source: (Path(source).stem != Path(file).stem, len(all_included_by(source)), source))
            if users:
                sources.add(users[0])
            else:
                alone.append(file)
    return sorted(sources), alone


def stamp_of(source, command, version):
    """The file whose presence says that this source, as it is now, has passed."""
    content = hashlib.sha256()
    rules = [path for path in (PROJECT / ".clang-tidy", PROJECT / source.split("/")[0] / ".clang-tidy") if path.is_file()]
    for part in (version, *(path.read_text() for path in rules), command.replace(str(PROJECT), "")):
        content.update(part.encode() + b"\0")
    for path in (source, *sorted(all_included_by(source))):
        content.update(path.encode() + b"\0" + (PROJECT / path).read_bytes() + b"\0")
    return STAMPS / content.hexdigest()


def check(source, stamp):
    """Whether a source passes; prints what clang-tidy found."""
    result = subprocess.run(
        [CLANG_TIDY, "-p", STAMPS.parent, "--quiet", source], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    if result.returncode == 0:
        stamp.touch()
        return True
    print(f"{source}:\n{result.stdout}{result.stderr}", flush=True)
    return False


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("files", nargs="+")
    options = parser.parse_args()
    commands = compile_commands()
    version = subprocess.run([CLANG_TIDY, "--version"], capture_output=True, text=True, check=True).stdout
    sources, alone = sources_for([Path(file).as_posix() for file in options.files], commands)
    stamps = {source: stamp_of(source, commands[source], version) for source in sources}
    waiting = [source for source in sources if not stamps[source].exists()]
    with ThreadPoolExecutor(options.jobs) as pool:
        passed = list(pool.map(lambda source: check(source, stamps[source]), waiting))
    print(f"clang-tidy: {passed.count(False)} of {len(sources)} sources with findings; {len(waiting)} checked now, the others before")
    if alone:
        print(f"clang-tidy: not checked, as no source of this build includes them: {' '.join(alone)}")
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
