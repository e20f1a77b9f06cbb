"""The tokens of a turn in Qwen's chat format. Texts become ordinary tokens only: no marker inside a prompt can end the turn."""

from __future__ import annotations

import itertools
from pathlib import Path

from .problems import RowProblem, UsageProblem, one_line

BEGIN, END = "<|im_start|>", "<|im_end|>"
VISION_BEGIN, VISION_END, IMAGE_PAD = "<|vision_start|>", "<|vision_end|>", "<|image_pad|>"


class Chat:
    """The model's tokenizer."""

    def __init__(self, folder: Path, *, sees_images: bool) -> None:
        """Reads tokenizer.json. Throws UsageProblem, also if the tokens of the chat format are not there."""
        from tokenizers import Tokenizer

        file = folder / "tokenizer.json"
        try:
            self._tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:
            raise UsageProblem(f"{file}: cannot be read: {one_line(error)}") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._added = {token.content: number for number, token in self._tokenizer.get_added_tokens_decoder().items()}
        for marker in (BEGIN, END, *((VISION_BEGIN, VISION_END, IMAGE_PAD) if sees_images else ())):
            if marker not in self._added:
                raise UsageProblem(f"{file}: has no token {marker}; the model must use the chat format of Qwen2 and its successors")

    def id_of(self, marker: str) -> int:
        """The id of a marker."""
        return self._added[marker]

    def plain_ids(self, text: str) -> list[int]:
        """The ids of a text in which every marker is ordinary text. Throws RowProblem if that is not possible."""
        if self._tokenizer.normalizer is not None:
            text = self._tokenizer.normalizer.normalize_str(text)
        cuts = {0, len(text)}
        for marker in self._added:
            at = text.find(marker)
            while at >= 0:
                cuts.add(at + 1)
                at = text.find(marker, at + 1)
        places = sorted(cuts)
        ids: list[int] = []
        for begin, end in itertools.pairwise(places):
            ids += self._tokenizer.encode(text[begin:end], add_special_tokens=False).ids
        if not set(self._added.values()).isdisjoint(ids):
            raise RowProblem("the text holds a token of the model's format that cannot be read as plain text")
        return ids

    def turn(self, system: str, user: str, image_tokens: int = 0) -> list[int]:
        """The ids of both messages, up to where the answer begins. `image_tokens`: places for the image in front of the user's text."""
        def message(role: str, content: list[int]) -> list[int]:
            return [self.id_of(BEGIN), *self.plain_ids(f"{role}\n"), *content, self.id_of(END), *self.plain_ids("\n")]

        image = []
        if image_tokens:
            image = [self.id_of(VISION_BEGIN), *[self.id_of(IMAGE_PAD)] * image_tokens, self.id_of(VISION_END)]
        return [*message("system", self.plain_ids(system)), *message("user", image + self.plain_ids(user)), self.id_of(BEGIN),
                *self.plain_ids("assistant\n")]

    def text_of(self, ids: list[int]) -> str:
        """The text of an answer, without special tokens."""
        return self._tokenizer.decode(ids, skip_special_tokens=True)
