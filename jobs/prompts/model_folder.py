"""Finds the language model and checks its folder before anything of it is loaded. No code of the folder is ever run."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from cache_record import is_checked, read_record, sha256_of, stamp
from hub_library import CacheError
from model_cache import cache_folder, download

from .problems import UsageProblem, one_line

#: The official program's short names.
SHORT_NAMES = {"Qwen2.5_3B": "Qwen/Qwen2.5-3B-Instruct", "Qwen2.5_7B": "Qwen/Qwen2.5-7B-Instruct",
               "Qwen2.5_14B": "Qwen/Qwen2.5-14B-Instruct", "QwenVL2.5_3B": "Qwen/Qwen2.5-VL-3B-Instruct",
               "QwenVL2.5_7B": "Qwen/Qwen2.5-VL-7B-Instruct"}
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
#: Our class for each model_type, and whether it sees images. Nothing else is loaded.
KINDS = {"qwen2": ("Qwen2ForCausalLM", False), "qwen2_vl": ("Qwen2VLForConditionalGeneration", True),
         "qwen2_5_vl": ("Qwen2_5_VLForConditionalGeneration", True)}
CONFIGS = ("config.json", "generation_config.json", "tokenizer_config.json", "preprocessor_config.json", "processor_config.json",
           "video_preprocessor_config.json")
INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
MOST_JSON_BYTES = 64 << 20


@dataclass(frozen=True)
class ModelFolder:
    """A folder that may be loaded."""

    path: Path
    name: str  #: for the column extend_model
    model_type: str
    sees_images: bool
    config: dict
    generation: dict  #: generation_config.json; empty if there is none
    preprocessor: dict  #: preprocessor_config.json; empty if there is none
    files: tuple[str, ...]  #: the files that decide the text: weights, tokenizer, configurations

    @property
    def class_name(self) -> str:
        """The class of transformers that loads it."""
        return KINDS[self.model_type][0]


def read_json(path: Path) -> dict:
    """An object out of a file; empty if there is no file. Throws UsageProblem."""
    try:
        if path.stat().st_size > MOST_JSON_BYTES:
            raise UsageProblem(f"{path}: has more than {MOST_JSON_BYTES} bytes")
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise UsageProblem(f"{path}: cannot be read: {one_line(error)}") from error
    if not isinstance(found, dict):
        raise UsageProblem(f"{path}: is no JSON object")
    return found


def find_folder(given: str, cache: Path | None) -> tuple[Path, str]:
    """The folder of --model and the model's name. A name of the hub is downloaded if it is not in the cache yet. Throws UsageProblem."""
    folder = Path(given).expanduser()
    if folder.is_dir():
        return folder.resolve(), folder.resolve().name
    repository = SHORT_NAMES.get(given, given)
    if folder.exists() or not HUB_NAME.fullmatch(repository) or ".." in repository:
        raise UsageProblem(f"--model {one_line(given)}: is neither a folder nor a name of the hub; there are {', '.join(SHORT_NAMES)}, and "
                           "names such as Qwen/Qwen2.5-3B-Instruct")
    try:
        folder = cache_folder(cache) / repository.split("/")[1]
        with contextlib.suppress(CacheError):
            record = read_record(folder)
            if record.repository == repository and all(is_checked(folder, file) for file in record.files):
                return folder, repository
        download(folder, repository, update=False)
    except CacheError as error:
        reason = str(error).removeprefix(f"{repository}: ").replace("run download again", "run the same command again")
        raise UsageProblem(f"--model {repository}: {reason}") from error
    return folder, repository


def weight_files(folder: Path) -> list[str]:
    """The names of the weights. Throws UsageProblem unless all of them are safetensors files of the folder itself."""
    if (folder / INDEX).is_file():
        shards = read_json(folder / INDEX).get("weight_map")
        names = sorted({str(name) for name in shards.values()}) if isinstance(shards, dict) else []
        for name in names:
            if name != Path(name).name or not name.endswith(".safetensors"):
                raise UsageProblem(f"{folder / INDEX}: names {one_line(name)!r}, which is no safetensors file of this folder")
            if not (folder / name).is_file():
                raise UsageProblem(f"{folder}: {name} is missing; complete the download")
        if not names:
            raise UsageProblem(f"{folder / INDEX}: names no weights")
        return [INDEX, *names]
    if (folder / SINGLE).is_file():
        return [SINGLE]
    other = next((file.name for pattern in ("*.bin", "*.pt", "*.pth", "*.gguf") for file in sorted(folder.glob(pattern))), None)
    if other is not None:
        raise UsageProblem(f"{folder}: has its weights in {other}; only safetensors are read, because other formats can run code. Save the "
                           "model as safetensors")
    raise UsageProblem(f"{folder}: has no weights ({SINGLE} or {INDEX})")


def refuse_code(folder: Path) -> None:
    """Throws UsageProblem if the folder asks for code of its own, or for parts that other libraries load."""
    for name in CONFIGS:
        fields = read_json(folder / name)
        if "auto_map" in fields or "custom_pipelines" in fields:
            raise UsageProblem(f"{folder / name}: asks for code of its own (auto_map); code from a model's folder is never run. Take the "
                               "model from Qwen's own repository")
    if (folder / "custom_generate").exists():
        raise UsageProblem(f"{folder}: has code of its own for generation (custom_generate); code from a model's folder is never run")
    if (folder / "adapter_config.json").exists():
        raise UsageProblem(f"{folder}: is an adapter (adapter_config.json); merge it into its model first")


def inspect(folder: Path, name: str) -> ModelFolder:
    """Checks the folder. Throws UsageProblem."""
    config = read_json(folder / "config.json")
    if not config:
        raise UsageProblem(f"{folder}: has no config.json, so it is no model in the format of transformers")
    refuse_code(folder)
    model_type = config.get("model_type")
    if model_type not in KINDS:
        raise UsageProblem(f"{folder / 'config.json'}: model_type is {one_line(json.dumps(model_type), 80)}; there are {', '.join(KINDS)} "
                           "(Qwen2 and Qwen2.5, Qwen2-VL, Qwen2.5-VL)")
    if "quantization_config" in config:
        raise UsageProblem(f"{folder / 'config.json'}: the weights are quantised (quantization_config), which needs other libraries; take "
                           "the model without quantisation")
    if not (folder / "tokenizer.json").is_file():
        raise UsageProblem(f"{folder}: has no tokenizer.json")
    sees_images = KINDS[model_type][1]
    preprocessor = read_json(folder / "preprocessor_config.json")
    if sees_images and not preprocessor:
        raise UsageProblem(f"{folder}: has no preprocessor_config.json, which a model that sees images needs")
    files = [file for file in ("config.json", "generation_config.json", "preprocessor_config.json", "tokenizer.json")
             if (folder / file).is_file()]
    return ModelFolder(folder, name, model_type, sees_images, config, read_json(folder / "generation_config.json"), preprocessor,
                       tuple(files + weight_files(folder)))


def checksum(model: ModelFolder, notes: Path) -> str:
    """SHA-256 over the names and SHA-256 of the model's files. `notes` keeps the sums of files that did not change since."""
    known = {}
    with contextlib.suppress(CacheError):
        known = {file.name: (list(file.checked or ()), file.sha256) for file in read_record(model.path).files if file.sha256}
    with contextlib.suppress(OSError, ValueError, AttributeError, TypeError, RecursionError):
        known |= {name: tuple(pair) for name, pair in json.loads(notes.read_text(encoding="utf-8")).get(str(model.path), {}).items()}
    sums = {}
    for name in sorted(model.files):
        now = list(stamp(model.path / name))
        old_stamp, old_sum = known.get(name, (None, None))
        sums[name] = (now, old_sum if old_stamp == now else sha256_of(model.path / name))
    with contextlib.suppress(OSError):
        temporary = notes.with_name(f"{notes.name}.{os.getpid()}")
        temporary.write_text(json.dumps({str(model.path): sums}), encoding="utf-8")
        temporary.replace(notes)
    return hashlib.sha256("".join(f"{digest}  {name}\n" for name, (_, digest) in sums.items()).encode()).hexdigest()
