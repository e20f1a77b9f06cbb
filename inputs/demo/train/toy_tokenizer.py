"""A small tokenizer in the four files of the official google/umt5-xxl folder: a sentencepiece unigram model and its tokenizer.json."""

import base64
import io
import json
import random
from collections.abc import Iterable
from pathlib import Path

import sentencepiece

PIECES, EXTRA_IDS = 400, 10

SUBJECTS = ("a white cat", "an old dog", "the red boat", "a small bird", "two children", "the summer beach", "a snowy mountain",
            "the city at night", "a wooden ship", "a yellow train", "the green forest", "an orange balloon")
VERBS = ("sits", "runs", "sails", "glides", "turns slowly", "moves", "rests", "looks around", "drifts", "rises", "dances", "waits")
PLACES = ("on a surfboard", "over the calm water", "under dark clouds", "in the morning light", "between tall buildings",
          "along the river", "above the valley", "through falling snow", "near the harbour", "in a field of flowers")
STYLES = ("the camera pans to the left", "slow motion, soft light", "wind moves the grass", "the sun sets behind it",
          "waves break on the sand", "close-up shot, shallow focus", "lights blink and cars pass", "fog lifts from the hills",
          "cinematic, detailed, 4k", "sunglasses reflect the sky")


def sentences(count: int) -> list[str]:
    choose = random.Random(5).choice
    return [f"{choose(SUBJECTS).capitalize()} {choose(VERBS)} {choose(PLACES)}, {choose(STYLES)}." for _ in range(count)]


def train(corpus: Iterable[str]) -> bytes:
    """A serialized model. Ids as T5 has them: <pad> 0, </s> 1, <unk> 2, the byte pieces, then what was learned."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus), model_writer=model, model_type="unigram", vocab_size=PIECES, pad_id=0, eos_id=1,
        unk_id=2, bos_id=-1, pad_piece="<pad>", byte_fallback=True, hard_vocab_limit=False, normalization_rule_name="nmt_nfkc",
        num_threads=1, minloglevel=2)
    return model.getvalue()


def varint(data: bytes, at: int) -> tuple[int, int]:
    """A protobuf variable-length integer and the position after it."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def protobuf_bytes_field(message: bytes, wanted: int) -> bytes:
    """The first length-delimited field of that number; sentencepiece's own Python classes would need the protobuf package."""
    at = 0
    while at < len(message):
        key, at = varint(message, at)
        number, wire_type = key >> 3, key & 7
        if wire_type == 2:
            length, at = varint(message, at)
            if number == wanted:
                return message[at:at + length]
            at += length
        elif wire_type == 0:
            _, at = varint(message, at)
        else:
            at += {1: 8, 5: 4}[wire_type]
    raise ValueError(f"no field {wanted} in a message of {len(message)} bytes")


def precompiled_charsmap(model: bytes) -> bytes:
    return protobuf_bytes_field(protobuf_bytes_field(model, 3), 2)  # ModelProto.normalizer_spec.precompiled_charsmap


def added_token(content: str) -> dict:
    return {"content": content, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False}


def tokenizer_json(model: bytes, vocabulary: list, special: dict[int, str]) -> dict:
    """The fast tokenizer's description of the same model: extra ids appended counting down, no byte fallback."""
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    end = {"SpecialToken": {"id": "</s>", "type_id": 0}}
    vocabulary = vocabulary + [[content, 0.0] for index, content in special.items() if index >= len(vocabulary)]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": index, **added_token(content), "special": True} for index, content in special.items()],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(precompiled_charsmap(model)).decode()},
            {"type": "Strip", "strip_left": False, "strip_right": True},
            {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"}]},
        "pre_tokenizer": metaspace,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"Sequence": {"id": "A", "type_id": 0}}, end],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, end, {"Sequence": {"id": "B", "type_id": 0}}, end],
            "special_tokens": {"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}}},
        "decoder": metaspace,
        "model": {"type": "Unigram", "unk_id": 2, "vocab": vocabulary, "byte_fallback": False},
    }


def write_tokenizer(folder: Path, corpus: Iterable[str] | None = None) -> int:
    """Trains on the sentences of `corpus` (those of this module) and writes the four files; returns the number of ids."""
    folder.mkdir(parents=True)
    model = train(sentences(600) if corpus is None else corpus)
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    pieces = processor.get_piece_size()
    vocabulary = [[processor.id_to_piece(index), processor.get_score(index)] for index in range(pieces)]
    extra = [f"<extra_id_{index}>" for index in range(EXTRA_IDS)]
    special = {0: "<pad>", 1: "</s>", 2: "<unk>"} | {pieces + EXTRA_IDS - 1 - i: name for i, name in enumerate(extra)}
    special = dict(sorted(special.items()))
    named = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    config = {
        "add_prefix_space": True,
        "added_tokens_decoder": {str(index): added_token(content) | {"special": True} for index, content in special.items()},
        "additional_special_tokens": extra, "clean_up_tokenization_spaces": False, **named, "extra_ids": EXTRA_IDS,
        "extra_special_tokens": {}, "legacy": True, "model_max_length": 512, "sp_model_kwargs": {}, "tokenizer_class": "T5Tokenizer",
    }
    (folder / "spiece.model").write_bytes(model)
    special_map = {"additional_special_tokens": extra} | {key: added_token(content) for key, content in named.items()}
    for name, content in (("tokenizer.json", tokenizer_json(model, vocabulary, special)), ("tokenizer_config.json", config),
                          ("special_tokens_map.json", special_map)):
        (folder / name).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return pieces + EXTRA_IDS
