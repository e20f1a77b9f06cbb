"""Holds the sources to the table of rooms in cmake/Layers.cmake.

    tests/layers/check_layers.py [ROOT]

CMake checks the links that a room declares. This checks the includes: each names a room that the table allows, each permission of the
table is used, and each link that a room declares is used. It also finds cycles, files that are too long, a room that is too large, and
options of the programs in messages of rooms that do not know them.
Prints each problem and exits with 1 if there is one.
"""

import re
import sys
from collections import defaultdict
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
SOURCES = (".h", ".cpp", ".cu", ".cuh")
PUBLIC = {"wan/engine.h": "model", "wan/request.h": "model"}  # public headers that a room implements; the others are core's
MOST_LINES_OF_A_FILE = 400
LARGEST_SHARE_OF_A_ROOM = 0.12
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)
PERMISSION = re.compile(r"^set\(WAN_MAY_USE_(\w+) \"?([\w ]*)\"?\)", re.MULTILINE)
LINKS = re.compile(r"wan_add_layer\((\w+)[^)]*?USES ([\w\s]+?)(?:LIBRARIES|TORCH|SOURCES|\))", re.DOTALL)

STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
OPTION = re.compile(r"(?<![\w-])--([a-z][a-z0-9-]*)")
KNOW_OPTIONS = ("apps", "launch")
# Options of launchers, compilers and the like, and what asks a program of ours for its version.
OPTIONS_OF_OTHERS = {
    "comm": {"mpi", "ntasks"},
    "doctor": {
        "bind-to", "constraint", "cpu-bind", "cpus-per-task", "exclusive", "export", "gpu-bind", "gpus", "gpus-per-node", "gpus-per-task",
        "gres", "ipc", "map-by", "mem", "mpi", "ntasks-per-node", "preset", "shm-size", "version",
    },
}  # fmt: skip


class Rooms:
    """The rooms below ROOT/src, the table, and what their sources include."""

    def __init__(self, root: Path):
        self.root = root
        table = (root / "cmake" / "Layers.cmake").read_text(encoding="utf-8")
        self.may_use = {room: used.split() for room, used in PERMISSION.findall(table)}
        self.files = [path for path in sorted((root / "src").rglob("*")) if path.suffix in SOURCES]
        self.lines = {path: path.read_text(encoding="utf-8").count("\n") for path in self.files}
        self.includes = defaultdict(dict)  # room -> used room -> the first file that includes it
        for path in self.files:
            for name in INCLUDE.findall(path.read_text(encoding="utf-8")):
                used = PUBLIC.get(name, name.split("/")[0])
                if used in self.may_use and used != self.room_of(path):
                    self.includes[self.room_of(path)].setdefault(used, path)

    def room_of(self, path: Path) -> str:
        return path.relative_to(self.root / "src").parts[0]

    def named(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def problems(self) -> list[str]:
        return [*self.folders(), *self.forbidden(), *self.unused(), *self.cycles(), *self.sizes(), *self.options()]

    def folders(self) -> list[str]:
        there = {path.name for path in (self.root / "src").iterdir() if path.is_dir()}
        gone = [f"cmake/Layers.cmake names '{room}', but there is no folder src/{room}" for room in self.may_use if room not in there]
        return gone + [f"src/{room} has no row in cmake/Layers.cmake" for room in sorted(there - set(self.may_use))]

    def forbidden(self) -> list[str]:
        return [
            f"{self.named(file)} includes src/{used}, which cmake/Layers.cmake does not allow for src/{room}"
            for room, uses in sorted(self.includes.items())
            for used, file in sorted(uses.items())
            if used not in self.may_use.get(room, ())
        ]

    def unused(self) -> list[str]:
        found = [
            f"cmake/Layers.cmake allows src/{room} to use src/{used}, but no file there includes it"
            for room, allowed in self.may_use.items()
            for used in allowed
            if used not in self.includes[room]
        ]
        for listfile in sorted((self.root / "src").glob("*/CMakeLists.txt")):
            for room, uses in LINKS.findall(listfile.read_text(encoding="utf-8")):
                found += [
                    f"{self.named(listfile)} links src/{used}, but no file there includes it"
                    for used in uses.split()
                    if used not in self.includes[room]
                ]
        return found

    def cycles(self) -> list[str]:
        """A cycle between rooms in the includes, independent of the table."""
        state, found = {}, []

        def visit(room, way):
            if state.get(room) == "open":
                found.append("a cycle: " + " -> ".join([*way[way.index(room) :], room]))
            if room in state:
                return
            state[room] = "open"
            for used in sorted(self.includes[room]):
                visit(used, [*way, room])
            state[room] = "done"

        for room in sorted(self.may_use):
            visit(room, [])
        return found

    def sizes(self) -> list[str]:
        found = [f"{self.named(path)} has {lines} lines; the limit is {MOST_LINES_OF_A_FILE}"
                 for path, lines in self.lines.items() if lines > MOST_LINES_OF_A_FILE]  # fmt: skip
        total, of_room = sum(self.lines.values()), defaultdict(int)
        for path, lines in self.lines.items():
            of_room[self.room_of(path)] += lines
        return found + [
            f"src/{room} is {lines / total:.1%} of the code; the limit is {LARGEST_SHARE_OF_A_ROOM:.0%}"
            for room, lines in sorted(of_room.items())
            if len(of_room) > 8 and lines > LARGEST_SHARE_OF_A_ROOM * total
        ]

    def options(self) -> list[str]:
        """Libraries name a setting, not how a program is told: apps and launch put the option to it (launch/option_names.h)."""
        found = []
        for path in self.files:
            room = self.room_of(path)
            if room in KNOW_OPTIONS:
                continue
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                texts = [] if line.lstrip().startswith("//") else STRING.findall(line)
                for text in texts:
                    found += [
                        f"{self.named(path)}:{number} names --{option}; src/{room} must name the setting, apps and launch the option"
                        for option in OPTION.findall(text)
                        if option not in OPTIONS_OF_OTHERS.get(room, ())
                    ]
        return found


def main() -> int:
    rooms = Rooms(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else PROJECT)
    problems = rooms.problems()
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    print(f"{len(rooms.may_use)} rooms, {len(rooms.files)} files, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
