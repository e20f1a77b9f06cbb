"""Whether an answer of the model can be a prompt."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

from .problems import UsageProblem, one_line
from .system_prompts import LANGUAGES

#: Tokens that the text encoder takes (docs/model.md).
MOST_TOKENS = 512
#: Share of the words that must be in the wanted script. The others may be names and quoted signs.
WANTED_SHARE = 0.7
WORD = re.compile(r"[^\W\d_]+")
PLACES = ("google/umt5-xxl/tokenizer.json", "umt5-xxl/tokenizer.json", "tokenizer.json")


def script_counts(text: str) -> tuple[int, int, int]:
    """Chinese characters, words in Latin letters, and characters or words of other scripts."""
    han = latin = other = 0
    for match in WORD.finditer(text):
        word = match.group()
        names = {unicodedata.name(c, "").split(" ")[0] for c in word}
        chinese = sum(unicodedata.name(c, "").startswith("CJK") for c in word)
        if chinese:
            han += chinese
        elif names <= {"LATIN", "COMBINING", "MODIFIER", "FULLWIDTH"}:
            latin += 1
        else:
            other += 1
    return han, latin, other


def is_in_language(text: str, language: str) -> bool:
    """Whether most words are in the language's script."""
    han, latin, other = script_counts(text)
    return {"zh": han, "en": latin}[language] >= WANTED_SHARE * max(han + latin + other, 1)


def problem_of(answer: str, language: str, count_tokens: Callable[[str], int]) -> str | None:
    """Why the answer is not taken; None if it is."""
    if not answer.strip():
        return "the answer is empty"
    bad = next((c for c in answer if c in "\0\ufffd" or 0xD800 <= ord(c) <= 0xDFFF), None)
    if bad is not None:
        return f"the answer holds the character U+{ord(bad):04X}"
    if not is_in_language(answer, language):
        return f"the answer is not in {LANGUAGES[language]} script"
    tokens = count_tokens(answer)
    if tokens > MOST_TOKENS:
        return f"the answer has {tokens} umT5 tokens, more than {MOST_TOKENS}"
    return None


class TokenCounter:
    """Counts the tokens of a text as the text encoder of a Wan checkpoint does."""

    def __init__(self, file: Path) -> None:
        """Throws UsageProblem."""
        from tokenizers import Tokenizer

        self.file = file
        try:
            self._tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:
            raise UsageProblem(f"--tokenizer {file}: cannot be read: {one_line(error)}") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def __call__(self, text: str) -> int:
        """The number of tokens of the cleaned text, with the one that ends it."""
        return len(self._tokenizer.encode(" ".join(text.split())).ids)


def find_tokenizer(given: Path | None, caches: list[Path]) -> Path:
    """tokenizer.json of a Wan checkpoint: --tokenizer, WAN_CKPT_DIR, or a checkpoint in a cache. Throws UsageProblem."""
    if given is not None:
        found = given if given.is_file() else next((given / place for place in PLACES if (given / place).is_file()), None)
        if found is None:
            raise UsageProblem(f"--tokenizer {given}: has no tokenizer.json of umT5; give the folder of a Wan checkpoint")
        return found
    folders = [Path(os.environ["WAN_CKPT_DIR"])] if os.environ.get("WAN_CKPT_DIR") else []
    for cache in caches:
        folders += sorted(cache.glob("Wan2*"))
    for folder in folders:
        if (folder / PLACES[0]).is_file():
            return folder / PLACES[0]
    raise UsageProblem("there is no umT5 tokenizer to measure the answers with; name the folder of your Wan checkpoint with --tokenizer or "
                       "WAN_CKPT_DIR")
