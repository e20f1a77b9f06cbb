#!/usr/bin/env python3
"""Checks that the documents stand alone: links lead somewhere, citations name a section, nothing outside is cited.

    tests/docs/check_docs.py [FOLDER]     the git checkout to check (default: this one)

It looks at the files that git tracks and prints one line for each problem:

* A relative link of a Markdown file must lead to a tracked file or folder. Its anchor must be a heading of that file.
* Every citation "(model.md N.M)", in whatever file, must name a numbered heading of docs/model.md. Only Markdown files may spell it
  in another way, as in "[model.md 5.6](model.md#56-block)"; the number must exist there, too.
* Nobody may cite the document from which docs/model.md once came: it is not in the repository.

Exit codes: 0 no problem, 1 problems, 2 the folder is no git checkout.
"""

import re
import subprocess
import sys
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

MODEL = "docs/model.md"
# This folder shows wrong links and citations on purpose.
OWN_FOLDER = "tests/docs/"

# White space, or a line break inside a comment, whose next line begins with the comment's sign.
GAP = r"(?:[ \t]|\n[ \t]*(?:///?<?|#|\*|--)?[ \t]?)+"
CITATION = re.compile(rf"\(model\.md{GAP}(\d+\.\d+)\)")
CITATION_IN_PROSE = re.compile(rf"\bmodel\.md{GAP}(\d+\.\d+)\b")
# All that looks like a citation of the model's description, to find those that are spelled in another way.
ALMOST_CITATION = re.compile(rf"model\.md(?:{GAP}|[,:]|§|section)+\d")
OUTSIDE = re.compile(
    rf"\bspec(?:ification)?\b[,:]?{GAP}(?:section{GAP})?\d"
    rf"|\bthe{GAP}spec(?:ification)?\b"
    r"|(?:Of|In)TheSpec\b|\bSpecTable\b"
    r"|§[ \t]?\d+\.\d"
    r"|\bwan22_i2v\b",
    re.IGNORECASE,
)

# Quick to look for; a text without any of them has no citation of the outside document.
OUTSIDE_HINT = re.compile("spec|§|wan22_i2v", re.IGNORECASE)

FENCE = re.compile(r"^[ >]*(```+|~~~+)")
INLINE_CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)")
INLINE_LINK = re.compile(r"\]\(\s*(<[^>\n]*>|[^()\s]*(?:\([^()\s]*\)[^()\s]*)*)(?:\s+(?:\"[^\"]*\"|'[^']*'))?\s*\)")
REFERENCE_LINK = re.compile(r"^ {0,3}\[[^\]\n]+\]:\s*(\S+)", re.MULTILINE)
HTML_LINK = re.compile(r"<(?:a|img|source)\b[^>]*?\b(?:href|src|srcset)\s*=\s*[\"']([^\"']*)[\"']", re.IGNORECASE)
HTML_ANCHOR = re.compile(r"<[a-z]+\b[^>]*?\b(?:id|name)\s*=\s*[\"']([^\"']+)[\"']", re.IGNORECASE)
HEADING = re.compile(r"^ {0,3}(#{1,6})[ \t]+(.*?)[ \t]*#*[ \t]*$", re.MULTILINE)
LINE_ANCHOR = re.compile(r"L(\d+)(?:-L(\d+))?")
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


class NoCheckoutError(Exception):
    """The folder is not in a git checkout, or there is no git."""


def tracked_files(root: Path) -> list[str]:
    """Paths that git tracks below `root`, relative to it; those that are deleted on disk left out."""
    command = ["git", "-c", "safe.directory=*", "-C", str(root), "ls-files", "-z"]
    try:
        done = subprocess.run(command, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise NoCheckoutError(f"git cannot list the files of {root}: {getattr(error, 'stderr', b'').decode() or error}") from error
    names = done.stdout.decode().split("\0")
    return [name for name in names if name and (root / name).is_file()]


def without_code(text: str, inline: bool = True) -> str:
    """The text with code blanked out, line for line, because links and headings in code are none."""
    lines = []
    fence = ""
    for line in text.split("\n"):
        found = FENCE.match(line)
        if fence:
            lines.append("")
            if found and found[1].startswith(fence):
                fence = ""
        elif found:
            lines.append("")
            fence = found[1]
        else:
            lines.append(INLINE_CODE.sub(lambda code: " " * len(code[0]), line) if inline else line)
    return "\n".join(lines)


def slug(heading: str) -> str:
    """A heading's anchor as GitHub makes it."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    text = text.replace("`", "").replace("*", "").strip().lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def anchors(markdown: str) -> set[str]:
    """All anchors of a Markdown file."""
    found: set[str] = set()
    for match in HEADING.finditer(without_code(markdown, inline=False)):
        name = slug(match[2])
        number = 0
        while (f"{name}-{number}" if number else name) in found:
            number += 1
        found.add(f"{name}-{number}" if number else name)
    found.update(match[1] for match in HTML_ANCHOR.finditer(without_code(markdown)))
    return found


def numbered_headings(markdown: str) -> list[str]:
    """The N.M of all headings that begin with such a number, in their order."""
    numbers = []
    for match in HEADING.finditer(without_code(markdown, inline=False)):
        number = re.match(r"(\d+\.\d+)\b", match[2])
        if number:
            numbers.append(number[1])
    return numbers


def line_of(text: str, offset: int) -> int:
    """Number of the line that holds the character at `offset`, from 1."""
    return text.count("\n", 0, offset) + 1


class Checker:
    """The problems of one checkout, each as "FILE:LINE: what is wrong; what to do"."""

    def __init__(self, root: Path, files: list[str]) -> None:
        """Reads these files, whose paths are relative to `root`."""
        self.root = root
        self.known = set(files)
        for name in files:
            self.known.update(str(parent) for parent in PurePosixPath(name).parents)
        self.texts: dict[str, str] = {}
        for name in files:
            try:
                self.texts[name] = (root / name).read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue  # an image or a tensor file cites nothing
        self.citations = 0
        self.links = 0

    def problems(self) -> list[str]:
        """All problems, file by file."""
        found = []
        sections = self.sections(found)
        for name, text in self.texts.items():
            if name.startswith(OWN_FOLDER):
                continue
            found += self.citation_problems(name, text, sections)
            if name.endswith(".md"):
                found += self.link_problems(name, text)
        return found

    def sections(self, found: list[str]) -> set[str]:
        """The sections of the model's description; doubled ones are problems."""
        numbers = numbered_headings(self.texts.get(MODEL, ""))
        found += [f"{MODEL}: section {number} is there twice" for number in sorted(set(numbers)) if numbers.count(number) > 1]
        return set(numbers)

    def citation_problems(self, name: str, text: str, sections: set[str]) -> list[str]:
        """Citations that lead nowhere, have another spelling, or are of the outside document."""
        found = []
        is_prose = name.endswith(".md")
        right = set()
        for match in (CITATION_IN_PROSE if is_prose else CITATION).finditer(text):
            self.citations += 1
            right.add(match.start() + 1)
            if match[1] not in sections:
                found.append((match.start(), f"{MODEL} has no section {match[1]}; cite one that exists"))
        for match in ALMOST_CITATION.finditer(text):
            if not is_prose and match.start() not in right:
                words = " ".join(match[0].split())
                found.append((match.start(), f'"{words}" is not spelled as the other citations; write "(model.md N.M)"'))
        for match in OUTSIDE.finditer(text) if OUTSIDE_HINT.search(text) else ():
            words = " ".join(match[0].split())
            found.append((match.start(), f'"{words}" cites a document that is not in the repository; write "(model.md N.M)"'))
        return [f"{name}:{line_of(text, offset)}: {message}" for offset, message in sorted(found)]

    def link_problems(self, name: str, text: str) -> list[str]:
        """Relative links that lead nowhere."""
        found = []
        prose = without_code(text)
        matches = [match for pattern in (INLINE_LINK, REFERENCE_LINK, HTML_LINK) for match in pattern.finditer(prose)]
        for match in sorted(matches, key=lambda match: match.start()):
            target = match[1].strip("<>")
            if SCHEME.match(target) or target.startswith("//"):
                continue
            self.links += 1
            problem = self.target_problem(name, target)
            if problem:
                found.append(f"{name}:{line_of(text, match.start(1))}: {problem}")
        return found

    def target_problem(self, name: str, target: str) -> str:
        """The problem of one relative link of a file. Nothing if it leads somewhere."""
        path, _, anchor = target.partition("#")
        path = unquote(path.partition("?")[0])
        parts: list[str] = []
        start = [] if path.startswith("/") else list(PurePosixPath(name).parent.parts)
        for part in [*start, *PurePosixPath(path.lstrip("/")).parts] if path else PurePosixPath(name).parts:
            if part == ".." and not parts:
                return f"the link '{target}' leads out of the repository"
            if part == "..":
                parts.pop()
            elif part != ".":
                parts.append(part)
        file = "/".join(parts) or "."
        if file not in self.known:
            there = (self.root / file).exists()
            return f"the link '{target}' leads to {file}, which " + ("git does not track; git add it" if there else "is not there")
        if not anchor:
            return ""
        if file.endswith(".md"):
            if unquote(anchor) not in anchors(self.texts[file]):
                return f"the link '{target}' names the heading #{anchor}, which {file} does not have"
            return ""
        lines = LINE_ANCHOR.fullmatch(anchor)
        last = int(lines[2] or lines[1]) if lines else 0
        if not lines or file not in self.texts or last > self.texts[file].count("\n"):
            return f"the link '{target}' has the anchor #{anchor}, which {file} does not have"
        return ""


def main() -> int:
    """Checks a checkout and prints its problems."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[2]
    try:
        checker = Checker(root, tracked_files(root))
    except NoCheckoutError as error:
        print(error, file=sys.stderr)
        return 2
    problems = checker.problems()
    for problem in problems:
        print(problem)
    print(f"{checker.links} relative links and {checker.citations} citations of {MODEL} checked, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
