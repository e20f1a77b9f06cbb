"""Tiny models with random weights in the format of transformers, made here: nothing is downloaded. They answer in English words."""

import json
import re
from pathlib import Path

import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

PROJECT = Path(__file__).resolve().parents[2]
#: The toy checkpoint of the demo has a umT5 tokenizer in the official layout.
CHECKPOINT = PROJECT / "inputs" / "toy" / "checkpoint"
WORDS = re.findall(r"\w+", """
    cat dog boat lake wave light sun moon river stone tree leaf cloud road bridge house window door garden flower field hill snow rain
    wind fire smoke glass table chair lamp street city tower train horse bird fish sand beach forest mountain valley bright dark
    soft warm cold slow quick small large red blue green golden silver gentle quiet moves turns runs walks drifts shines falls rises""")
MARKERS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
         "max_position_embeddings": 4096}


def make_tokenizer(extra: int = 0) -> Tokenizer:
    """Byte-level pairs with NFC, as Qwen's, over a few words and `extra` others. <tool_call> is an added token that is not special."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=900, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator([f" {word}" for word in WORDS for _ in range(50)], trainer)
    tokenizer.add_tokens([f"<x{number}>" for number in range(extra)])
    tokenizer.add_special_tokens([AddedToken(marker, special=True, normalized=False) for marker in MARKERS])
    tokenizer.add_tokens([AddedToken("<tool_call>", special=False, normalized=False)])
    return tokenizer


def save(folder: Path, model: torch.nn.Module, tokenizer: Tokenizer, generation: dict) -> Path:
    """Writes the model. Its last layer prefers whole words to bytes."""
    words = [number for word in WORDS if (number := tokenizer.token_to_id(f"\u0120{word}")) is not None]
    assert len(words) > 60
    with torch.no_grad():
        head = model.get_output_embeddings().weight
        wanted = 0.3 * torch.randn(len(words), head.shape[1], generator=torch.Generator().manual_seed(5))
        head.zero_()
        head[words] = wanted
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "generation_config.json").write_text(json.dumps(generation))
    return folder


def marker_ids(tokenizer: Tokenizer) -> dict[str, int]:
    """The markers' ids for config.json."""
    return {"eos_token_id": tokenizer.token_to_id("<|im_end|>"), "image_token_id": tokenizer.token_to_id("<|image_pad|>"),
            "video_token_id": tokenizer.token_to_id("<|video_pad|>"), "vision_start_token_id": tokenizer.token_to_id("<|vision_start|>"),
            "vision_end_token_id": tokenizer.token_to_id("<|vision_end|>")}


def make_text_model(folder: Path) -> Path:
    """A Qwen2."""
    tokenizer = make_tokenizer()
    torch.manual_seed(1)
    config = transformers.Qwen2Config(vocab_size=tokenizer.get_vocab_size(), eos_token_id=tokenizer.token_to_id("<|im_end|>"), **SIZES)
    generation = {"do_sample": True, "temperature": 0.7, "top_k": 20, "top_p": 0.8, "repetition_penalty": 1.05,
                  "eos_token_id": [tokenizer.token_to_id("<|im_end|>"), tokenizer.token_to_id("<|endoftext|>")]}
    return save(folder, transformers.Qwen2ForCausalLM(config), tokenizer, generation)


def make_vision_model(folder: Path, model_type: str) -> Path:
    """A Qwen2-VL or a Qwen2.5-VL."""
    tokenizer = make_tokenizer()
    torch.manual_seed(2)
    text = {"vocab_size": tokenizer.get_vocab_size(), "rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2]},
            "initializer_range": 0.4, **SIZES}
    if model_type == "qwen2_vl":
        vision = {"depth": 1, "embed_dim": 16, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2, "initializer_range": 0.4}
        config = transformers.Qwen2VLConfig(text_config=text, vision_config=vision, **marker_ids(tokenizer))
        model = transformers.Qwen2VLForConditionalGeneration(config)
    else:
        vision = {"depth": 1, "hidden_size": 16, "out_hidden_size": 32, "num_heads": 2, "intermediate_size": 24,
                  "fullatt_block_indexes": [0], "initializer_range": 0.4}
        config = transformers.Qwen2_5_VLConfig(text_config=text, vision_config=vision, **marker_ids(tokenizer))
        model = transformers.Qwen2_5_VLForConditionalGeneration(config)
    save(folder, model, tokenizer, {"do_sample": True, "temperature": 1e-6, "repetition_penalty": 1.05})
    (folder / "preprocessor_config.json").write_text(json.dumps(
        {"patch_size": 14, "merge_size": 2, "temporal_patch_size": 2, "image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28]}))
    return folder
