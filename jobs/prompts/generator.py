"""Loads the language model and lets it answer, one row at a time."""

from __future__ import annotations

import hashlib
import os
import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .chat import END, IMAGE_PAD, Chat
from .images import Images
from .model_folder import ModelFolder
from .problems import RowProblem, TimeUp, UsageProblem, one_line

if TYPE_CHECKING:
    from pathlib import Path

    import torch

#: Lowest temperature of a second and third draw. The vision models' own one is so low that every draw would be the same.
REDRAW_TEMPERATURE = 0.7


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn. The defaults are those of Qwen2.5; generation_config.json of the model wins."""

    temperature: float = 0.7
    top_k: int = 20
    top_p: float = 0.8
    repetition_penalty: float = 1.05

    @staticmethod
    def of(model: ModelFolder) -> Sampling:
        """From generation_config.json. Throws UsageProblem."""
        given, usual = model.generation, Sampling()
        try:
            found = Sampling(*(type(default)(given.get(name, default)) for name, default in vars(usual).items()))
        except (TypeError, ValueError) as error:
            raise UsageProblem(f"{model.path / 'generation_config.json'}: {one_line(error)}") from error
        if not (0 <= found.temperature < 100 and found.top_k >= 0 and 0 < found.top_p <= 1 and 0 < found.repetition_penalty < 100):
            raise UsageProblem(f"{model.path / 'generation_config.json'}: {found} is no way to draw tokens")
        return Sampling(0.0, *list(vars(found).values())[1:]) if given.get("do_sample") is False else found

    def at_draw(self, draw: int) -> Sampling:
        """The same for draw 1, 2 or 3."""
        return self if draw == 1 else Sampling(max(self.temperature, REDRAW_TEMPERATURE), self.top_k, self.top_p, self.repetition_penalty)

    def words(self) -> str:
        """For the column extend_settings."""
        return f"temperature={self.temperature:g} top_k={self.top_k} top_p={self.top_p:g} repetition_penalty={self.repetition_penalty:g}"


def draw_seed(seed: int, content: str, draw: int) -> int:
    """The seed of the generator for one draw of one row, 0..2^63-1."""
    digest = hashlib.sha256(f"{seed}\n{draw}\n{content}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def choose_device(name: str) -> str:
    """The device for --device. Under srun each task takes the GPU of its place on the node. Throws UsageProblem."""
    import torch

    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return "cpu"
    if not torch.cuda.is_available():
        raise UsageProblem("--device cuda: PyTorch sees no GPU here")
    place = os.environ.get("SLURM_LOCALID", "0")
    return f"cuda:{int(place) % torch.cuda.device_count() if place.isdecimal() else 0}"


def processors_of(sampling: Sampling, seed: int, deadline_s: float) -> Any:  # noqa: ANN401  (a class of transformers)
    """Penalty over prompt and answer, temperature, top-k, top-p, then a draw from a generator of this row's own.

    All of it runs on the CPU, where each sum has one order. `deadline_s`: of time.monotonic().
    """
    import torch
    import transformers

    steps: list[transformers.LogitsProcessor] = []
    if sampling.repetition_penalty != 1:
        steps.append(transformers.RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
    if sampling.temperature > 0:
        steps.append(transformers.TemperatureLogitsWarper(sampling.temperature))
        if sampling.top_k:
            steps.append(transformers.TopKLogitsWarper(sampling.top_k))

    class Draw(transformers.LogitsProcessor):
        """Leaves one token."""

        def __init__(self) -> None:
            self.generator = torch.Generator("cpu").manual_seed(seed)

        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            """`input_ids`: [1, tokens]; `scores`: [1, vocabulary]."""
            if time.monotonic() > deadline_s:
                raise TimeUp("the time is over", final=False)
            row, ids = scores.float().cpu(), input_ids.cpu()
            for step in steps:
                row = step(ids, row)
            if bool(torch.isnan(row).any()) or not bool(torch.isfinite(row.max())):
                raise RowProblem("the model computes values that are no numbers")
            only = torch.full_like(scores, -float("inf"))
            only[0, self.token(ids, row)] = 0
            return only

        def token(self, ids: torch.Tensor, row: torch.Tensor) -> int:
            if sampling.temperature == 0:
                return int(row.argmax())
            kept = torch.isfinite(row[0]).nonzero()[:, 0]  # [candidates]: what top-k has left
            values = row[:, kept]
            if sampling.top_p < 1:
                values = transformers.TopPLogitsWarper(sampling.top_p)(ids, values)
            sums = torch.cumsum(torch.softmax(values[0].double(), dim=0), dim=0)
            at = torch.rand((), generator=self.generator, dtype=torch.float64) * sums[-1]
            return int(kept[torch.searchsorted(sums, at, right=True).clamp(max=len(sums) - 1)])

    return transformers.LogitsProcessorList([Draw()])


class Generator:
    """A loaded model."""

    def __init__(self, model: ModelFolder, device: str, most_tokens: int) -> None:
        """Throws UsageProblem if the folder does not hold the whole model, or the device has no room for it."""
        import torch
        import transformers

        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        torch.use_deterministic_algorithms(True, warn_only=True)
        warnings.filterwarnings("ignore", message=".*does not have a deterministic implementation")
        self.folder, self.device, self.most_tokens = model, device, most_tokens
        self.sampling = Sampling.of(model)
        self.chat = Chat(model.path, sees_images=model.sees_images)
        self._images = Images(model) if model.sees_images else None
        try:
            loaded, report = getattr(transformers, model.class_name).from_pretrained(
                str(model.path), dtype="auto", use_safetensors=True, trust_remote_code=False, local_files_only=True,
                attn_implementation="sdpa", output_loading_info=True)
            self._model = loaded.eval().to(device)
        except Exception as error:  # transformers throws many kinds for a damaged folder
            raise UsageProblem(f"{model.path}: cannot be loaded on {device}: {one_line(error)}") from error
        lacks = sorted(report["missing_keys"]) + sorted(str(key[0]) for key in report["mismatched_keys"])
        if lacks:
            raise UsageProblem(f"{model.path}: {len(lacks)} tensors are missing or have another shape, such as {one_line(lacks[0], 100)}; "
                               "complete the download")
        self._check_tokens()
        # generation_config.json was read already. transformers would add values of its own to it.
        self._model.generation_config = transformers.GenerationConfig()

    def _check_tokens(self) -> None:
        rows = self._model.get_input_embeddings().weight.shape[0]
        image = getattr(self._model.config, "image_token_id", None)
        if self.chat.id_of(END) >= rows or (self._images and image != self.chat.id_of(IMAGE_PAD)):
            raise UsageProblem(f"{self.folder.path}: tokenizer.json is another model's: its markers have other ids than config.json says")

    def settings(self) -> str:
        """Numbers, device and libraries, for the column extend_settings."""
        import torch
        import transformers

        threads = f" threads={torch.get_num_threads()}" if self.device == "cpu" else ""
        chip = "cpu" if self.device == "cpu" else torch.cuda.get_device_name(self.device).replace(" ", "_")
        return (f"max_new_tokens={self.most_tokens} dtype={str(self._model.dtype).removeprefix('torch.')} device={chip}{threads} "
                f"torch={torch.__version__} transformers={transformers.__version__}")

    def end_ids(self) -> list[int]:
        """The tokens that end an answer."""
        given = self.folder.generation.get("eos_token_id", self.folder.config.get("eos_token_id"))
        numbers = given if isinstance(given, list) else [given]
        return sorted({self.chat.id_of(END), *(number for number in numbers if isinstance(number, int))})

    def answer(self, system: str, user: str, image: Path | None, *, seed: int, draw: int, deadline_s: float) -> str:
        """The model's text. `deadline_s`: of time.monotonic(). Throws RowProblem."""
        import torch

        try:
            return self._answer(system, user, image, processors_of(self.sampling.at_draw(draw), seed, deadline_s))
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            raise RowProblem("the GPU's memory is too small for this row", final=False) from None
        except (RuntimeError, IndexError, ValueError) as error:
            raise RowProblem(f"the model fails on this row: {one_line(error, 200)}", final=False) from error

    def _answer(self, system: str, user: str, image: Path | None, processors: Any) -> str:  # noqa: ANN401
        import torch
        from transformers import GenerationConfig

        inputs, image_tokens = self._images.read(image) if image is not None else ({}, 0)
        ids = self.chat.turn(system, user, image_tokens)
        room = int(getattr(self._model.config.get_text_config(), "max_position_embeddings", len(ids) + self.most_tokens))
        if len(ids) + self.most_tokens > room:
            raise RowProblem(f"the prompt and its instructions have {len(ids)} tokens; with the answer the model takes {room}")
        ends = self.end_ids()
        settings = GenerationConfig(do_sample=False, max_new_tokens=self.most_tokens, eos_token_id=ends, pad_token_id=ends[0])
        turn = torch.tensor([ids], device=self.device)  # [1, tokens]
        inputs = {name: tensor.to(self.device) for name, tensor in inputs.items()}
        with torch.inference_mode():
            made = self._model.generate(input_ids=turn, attention_mask=torch.ones_like(turn), generation_config=settings,
                                        logits_processor=processors, **inputs)
        return self.chat.text_of(made[0, len(ids):].tolist())
