#!/usr/bin/env python3
"""Makes the small inputs in corpus/ (needs numpy, safetensors, torch). The images are those of tests/data/images."""
import io
import json
import pathlib
import struct
import zipfile

import numpy as np
import torch
from safetensors.numpy import save

HERE = pathlib.Path(__file__).parent / "corpus"


def write(name, data):
    (HERE / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def torch_file(value):
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def data_pickle(archive):
    with zipfile.ZipFile(io.BytesIO(archive)) as members:
        return members.read(next(name for name in members.namelist() if name.endswith("/data.pkl")))


def tensors():
    ramp = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    return {"plain": ramp, "view": ramp.t(), "half": ramp.half(), "bf16": ramp.bfloat16(), "count": torch.tensor(3)}


def tokenizer(**changes):
    special = {"id": "</s>", "ids": [1], "tokens": ["</s>"]}
    single = [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}]
    pieces = ["<pad>", "</s>", "<unk>", "\u2581", "\u2581a", "a", "c", "t", "at", "<0xC3>", "<0xA9>"]
    content = {
        "added_tokens": [{"id": 0, "content": "<pad>"}, {"id": 1, "content": "</s>"}, {"id": 20, "content": "<extra_id_0>"}],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Strip", "strip_left": False, "strip_right": True},
            {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "\u2581"}]},
        "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True},
        "post_processor": {"type": "TemplateProcessing", "single": single, "special_tokens": {"</s>": special}},
        "model": {"type": "Unigram", "unk_id": 2, "byte_fallback": True, "vocab": [[p, -1.0 - i] for i, p in enumerate(pieces)]},
    }
    return json.dumps(content | changes)


def main():
    numbers = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros((0, 2), np.float16), "c": np.ones((), np.int8)}
    write("safetensors/three", save(numbers, metadata={"format": "pt"}))
    write("safetensors/one", save({"w": np.ones(4, np.float64)}))
    plain = torch_file(tensors())
    module = torch_file(torch.nn.Linear(2, 2).state_dict())
    negative = torch_file({"neg": torch.ones(2, dtype=torch.complex64).conj().imag})
    for name, data in (("views", plain), ("module", module), ("negative", negative)):
        write(f"pickle/{name}", data_pickle(data))
    write("torch_archive/negative", negative)
    write("tokenizer/small", tokenizer())
    write("tokenizer/doubling", tokenizer(normalizer={"type": "Sequence", "normalizers": [
        {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}] * 6}))
    write("manifest/csv", '\0image,prompt,id,seed,size\na.png,"a cat, asleep",one,42,832*480\nb.png,"two ""quoted""\nlines",,,\n')
    write("manifest/t2v_csv", "\x01prompt;frame_num;sample_guide_scale\na cat;81;3.5\n\na dog;;3,4\n")
    rows = [{"image": "a.png", "prompt": "a cat", "seed": 7}, {"image": "b.png", "prompt": "\u732b", "size": "832*480"}]
    write("manifest/jsonl", "\2" + "\n".join(json.dumps(row) for row in rows) + "\n")
    write("manifest/t2v_jsonl", '\3{"prompt": "a cat", "sample_steps": 40, "boundary": 0.9}\n')
    header = struct.pack("<2sIII", b"BM", 58, 0, 54) + struct.pack("<IiiHHIIiiII", 40, 1, 1, 1, 24, 0, 4, 0, 0, 0, 0)
    write("image/one_pixel", header + bytes([255, 128, 64, 0]))


if __name__ == "__main__":
    main()
