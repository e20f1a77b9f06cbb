"""From prompts to token ids, as the program does it with the checkpoint's tokenizer."""

import json
import shutil
import unicodedata
from pathlib import Path

import sentencepiece
import torch

from grammar import every_caption

TOKENIZER_CAPTIONS = 7  # every so many captions train the tokenizer
END, UNKNOWN = 1, 2
# The program's default negative prompt (model.md 2.4).
NEGATIVE_PROMPT = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，JPEG压缩残留，"
    "丑陋的，残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，手指融合，"
    "静止不动的画面，杂乱的背景，三条腿，背景人很多，倒着走"
)


def make_tokenizer(folder: Path) -> None:
    """Trains the tokenizer on the grammar's sentences, if `folder` has none yet."""
    from toy_tokenizer import write_tokenizer

    if (folder / "special_tokens_map.json").exists():  # the last file that is written
        return
    shutil.rmtree(folder, ignore_errors=True)
    write_tokenizer(folder, every_caption()[::TOKENIZER_CAPTIONS])


class Words:
    """The tokenizer of a checkpoint's folder google/umt5-xxl."""

    def __init__(self, folder: Path):
        self.pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spiece.model"))
        special = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))["added_tokens_decoder"]
        self.vocabulary = 1 + max(self.pieces.get_piece_size() - 1, *map(int, special))

    def ids(self, prompt: str) -> list[int]:
        """Ids with </s> at the end. A run of characters that no piece holds is one <unk>, as tokenizer.json has it."""
        found: list[int] = []
        for index in self.pieces.encode(unicodedata.normalize("NFKC", prompt)):
            token = UNKNOWN if self.pieces.is_byte(index) or self.pieces.is_unknown(index) else index
            if token != UNKNOWN or found[-1:] != [UNKNOWN]:
                found.append(token)
        return [*found, END]

    def table(self, prompts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids [prompts, tokens], filled up with 0, and lengths [prompts]."""
        rows = [self.ids(prompt) for prompt in prompts]
        lengths = torch.tensor([len(row) for row in rows])
        table = torch.zeros(len(rows), int(lengths.max()), dtype=torch.long)
        for index, row in enumerate(rows):
            table[index, :len(row)] = torch.tensor(row)
        return table, lengths
