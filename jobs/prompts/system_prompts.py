"""The text that tells the model what to do: a short one of our own, a file of the user's, or the official repository's Python file."""

from __future__ import annotations

import ast
import hashlib
from dataclasses import dataclass
from pathlib import Path

from .problems import UsageProblem

TEXT, IMAGE, IMAGE_ALONE = "text", "image", "image_alone"  #: what a row gives
LANGUAGES = {"zh": "Chinese", "en": "English"}
MOST_BYTES = 1 << 20

OWN = {
    TEXT: "You write prompts for a model that makes videos from text. Rewrite the user's prompt as one longer prompt for the same video. "
          "Keep the subject, the action, the style, names, and words in quotation marks. Add what a viewer would see: how the subject "
          "looks, where it is, the light, the shot size, the camera, and how the motion goes on. Add no second subject, no mood, and no "
          "comment. ",
    IMAGE: "You write prompts for a model that makes a video from its first image and a prompt. Rewrite the user's prompt for this image. "
           "Keep what the prompt says, and above all its motion and its camera moves. Say who or what moves, and how. Leave out what only "
           "describes the still image. Add no comment. ",
    IMAGE_ALONE: "You write prompts for a model that makes a video from its first image and a prompt. The user gives only the image. "
                 "Describe a motion that could follow from it, of the subject and of the camera. Add no comment. ",
}
LENGTH = {TEXT: "Write 60 to 200 words", IMAGE: "Write at most 100 words", IMAGE_ALONE: "Write at most 100 words"}
#: The names in the official repository's wan/utils/system_prompt.py, without the language.
OFFICIAL_NAMES = {TEXT: "T2V_A14B_{}_SYS_PROMPT", IMAGE: "I2V_A14B_{}_SYS_PROMPT", IMAGE_ALONE: "I2V_A14B_EMPTY_{}_SYS_PROMPT"}


@dataclass(frozen=True)
class SystemPrompts:
    """The system prompt for each kind of row."""

    texts: dict[str, str]
    source: str  #: "own", or the file's name

    def of(self, kind: str) -> str:
        """The text for TEXT, IMAGE or IMAGE_ALONE."""
        return self.texts[kind]

    def mark(self, kind: str) -> str:
        """Source and first digits of the SHA-256, for the column extend_settings."""
        return f"{self.source}:{hashlib.sha256(self.of(kind).encode()).hexdigest()[:12]}"


def own(language: str) -> SystemPrompts:
    """Our own short texts."""
    return SystemPrompts({kind: f"{OWN[kind]}{LENGTH[kind]}, in {LANGUAGES[language]} only, whatever language the user writes. "
                                "Answer with the prompt alone." for kind in OWN}, "own")


def from_file(path: Path, language: str) -> SystemPrompts:
    """One text for all kinds of rows, or the official texts out of a Python file. Throws UsageProblem."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UsageProblem(f"--system-prompt {path}: the file has more than {MOST_BYTES} bytes")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageProblem(f"--system-prompt {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageProblem(f"--system-prompt {path}: is not UTF-8 at byte {error.start + 1}; save it as UTF-8") from error
    if path.suffix == ".py":
        return from_python(path, text, language)
    if not text.strip():
        raise UsageProblem(f"--system-prompt {path}: the file is empty")
    return SystemPrompts(dict.fromkeys(OWN, text), path.name)


def from_python(path: Path, text: str, language: str) -> SystemPrompts:
    """The official texts, read as syntax. Nothing of the file is imported or run. Throws UsageProblem."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UsageProblem(f"--system-prompt {path}: is not Python: {error}") from error
    texts = {}
    for statement in tree.body:
        if not (isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant) and isinstance(statement.value.value, str)):
            continue
        for target in statement.targets:
            if isinstance(target, ast.Name):
                texts[target.id] = statement.value.value
    wanted = {kind: name.format(language.upper()) for kind, name in OFFICIAL_NAMES.items()}
    missing = [name for name in wanted.values() if not texts.get(name, "").strip()]
    if missing:
        raise UsageProblem(f"--system-prompt {path}: {', '.join(missing)} is not there as a text; give wan/utils/system_prompt.py of the "
                           "official repository, or a plain text file")
    return SystemPrompts({kind: texts[name] for kind, name in wanted.items()}, path.name)
