#!/usr/bin/env python3
"""Checks how sentences in comments and docstrings begin, because such sentences are hard to read.

    tests/docs/check_english.py [FOLDER]     the git checkout to check (default: this one)

A sentence must not begin with "Of", "What", "Those" or "To be": it then hides its subject. Name the thing instead. The check reads the
comments of C++, CUDA, shell and CMake files and the comments and docstrings of Python files that git tracks. It prints one line for each
problem.

Exit codes: 0 no problem, 1 problems, 2 the folder is no git checkout.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

from check_docs import NoCheckoutError, tracked_files  # noqa: E402  (needs the path)

# This folder shows wrong sentences on purpose.
OWN_FOLDER = "tests/docs/"
# Sentences that may stay: (path, first words). Keep it empty.
EXCEPTIONS: frozenset[tuple[str, str]] = frozenset()

BEGINNING = re.compile(r"(?:^|(?<=[.!?] ))((?:Of|What|Those|To be)\b[^.!?]*)")
# String and character literals first, so that "//" inside them is no comment.
CPP = re.compile(
    r"R\"(?P<fence>[^(\s]*)\(.*?\)(?P=fence)\"|\"(?:[^\"\\\n]|\\.)*\"|(?<![0-9A-Fa-f])'(?:[^'\\\n]|\\.)+'|(?P<comment>//[^\n]*|/\*.*?\*/)",
    re.DOTALL,
)
HASH = re.compile(r"^[ \t]*#(?!!)[ \t]?(.*)$")
CPP_NAMES = (".h", ".cpp", ".cu", ".cuh")
HASH_NAMES = (".sh", ".cmake", "CMakeLists.txt")

Text = tuple[int, str]  # the first line, from 1, and one paragraph of a comment


def joined(lines: list[Text]) -> Iterator[Text]:
    """Joins comment lines that follow each other to paragraphs. An empty line ends a paragraph."""
    start, words, last = 0, [], -1
    for number, text in lines:
        if words and (number != last + 1 or not text.strip()):
            yield start, " ".join(words)
            words = []
        if text.strip():
            start = start if words else number
            words.append(text.strip())
        last = number
    if words:
        yield start, " ".join(words)


def cpp_texts(text: str) -> Iterator[Text]:
    """The comments of a C++ or CUDA file."""
    lines = []
    for match in CPP.finditer(text):
        if match["comment"]:
            number = text.count("\n", 0, match.start()) + 1
            for offset, line in enumerate(match["comment"].split("\n")):
                lines.append((number + offset, re.sub(r"^\s*(///?<?|/\*+|\*)|\*/$", "", line)))
    yield from joined(lines)


def hash_texts(text: str) -> Iterator[Text]:
    """The comment lines of a shell or CMake file."""
    found = ((number, HASH.match(line)) for number, line in enumerate(text.split("\n"), 1))
    yield from joined([(number, match[1]) for number, match in found if match])


def python_texts(text: str) -> Iterator[Text]:
    """The comments and docstrings of a Python file."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    yield from joined([(token.start[0], token.string.lstrip("#: ")) for token in tokens if token.type == tokenize.COMMENT])
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node):
            first = node.body[0]
            yield from joined([(first.lineno + offset, line) for offset, line in enumerate(ast.get_docstring(node).split("\n"))])


def texts_of(name: str, text: str) -> Iterator[Text]:
    """The paragraphs of all comments of a file, none for kinds of files that are not checked."""
    if name.endswith(CPP_NAMES):
        yield from cpp_texts(text)
    elif name.endswith(".py"):
        yield from python_texts(text)
    elif name.endswith(HASH_NAMES):
        yield from hash_texts(text)


def problems_of(name: str, text: str) -> Iterator[str]:
    """Each wrong sentence of a file, as "FILE:LINE: the problem; the remedy"."""
    for line, paragraph in texts_of(name, text):
        for match in BEGINNING.finditer(paragraph):
            words = " ".join(match[1].split()[:6])
            if (name, words) not in EXCEPTIONS:
                yield f"{name}:{line}: a sentence begins with '{words}'; begin with the thing that it is about"


def check(root: Path, files: list[str]) -> list[str]:
    """All problems of these files, whose paths are relative to `root`."""
    found = []
    for name in files:
        if name.startswith(OWN_FOLDER):
            continue
        try:
            found += problems_of(name, (root / name).read_text(encoding="utf-8"))
        except UnicodeDecodeError:
            continue  # not a text
    return found


def main() -> int:
    """Runs the command line and returns its exit code."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parents[2])
    try:
        found = check(root, tracked_files(root))
    except NoCheckoutError as error:
        print(f"check_english.py: error: {error}", file=sys.stderr)
        return 2
    print("\n".join([*found, f"{len(found)} problems"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
