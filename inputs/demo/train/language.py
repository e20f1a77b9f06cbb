"""Stage 2: the text encoder learns to say, in every token, what the whole caption says. Then it is frozen.

It is trained with one small layer per question ("which motion?"), which is thrown away. So each token's embedding tells the experts all
that they need, wherever their attention falls.
"""

import torch
from torch import nn
from torch.nn import functional

from grammar import COLOUR_NAMES, MOTION_NAMES, PLACES, SHAPES, SPEEDS, every_caption, parse
from plan import Plan
from trainer import Clock, Log, Trainer, save_atomically, step_generator
from umt5 import PAD, Umt5
from words import Words

ANSWERS = {"colour": COLOUR_NAMES, "shape": SHAPES, "motion": MOTION_NAMES, "speed": SPEEDS, "place": PLACES}
SPARE_IDS = 20  # rows of the embedding that no piece uses, as in the official file


class Reader(nn.Module):
    """The text encoder and its questions."""

    def __init__(self, encoder: Umt5, width: int):
        super().__init__()
        self.encoder = encoder
        self.questions = nn.ModuleDict({name: nn.Linear(width, len(answers)) for name, answers in ANSWERS.items()})

    def loss(self, ids: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
        real = ids != PAD
        found = self.encoder(ids)[real]
        wanted = answers[:, None].expand(-1, ids.shape[1], -1)[real]
        return sum(functional.cross_entropy(question(found), wanted[:, index])
                   for index, question in enumerate(self.questions.values()))


def start_weights(encoder: Umt5, generator: torch.Generator) -> None:
    for name, parameter in encoder.named_parameters():
        if parameter.ndim == 2:
            deviation = 1.0 if "token_embedding" in name else 0.1 if "pos_embedding" in name else parameter.shape[1] ** -0.5
            # Scores are not divided by the root of the head's width, so queries start small.
            deviation *= 0.35 if ".attn.q." in name else 1.0
            parameter.data = torch.randn(parameter.shape, generator=generator) * deviation


def train(plan: Plan, words: Words, device, folder, log: Log, clock: Clock) -> Umt5:
    sizes = plan.text
    encoder = Umt5(words.vocabulary + SPARE_IDS, sizes.width, sizes.heads, sizes.inner, sizes.layers)
    start_weights(encoder, torch.Generator().manual_seed(plan.seed))
    encoder.to(device)
    finished = folder / "text.pt"
    if finished.exists():
        encoder.load_state_dict(torch.load(finished, map_location=device, weights_only=True))
        return encoder.requires_grad_(False)
    torch.manual_seed(plan.seed)
    reader = Reader(encoder, sizes.width).to(device)
    prompts = every_caption()
    ids, _ = words.table(prompts)
    answers = torch.tensor([[ANSWERS[name].index(getattr(caption, name)) for name in ANSWERS] for caption in map(parse, prompts)])
    ids, answers = ids.to(device), answers.to(device)
    trainer = Trainer("text", reader, sizes.steps, sizes.rate, folder, log)

    def batch_of(step: int) -> list[torch.Tensor]:
        chosen = torch.randint(len(prompts), (sizes.captions,), generator=step_generator(plan.seed, "words", step)).to(device)
        return [ids[chosen], answers[chosen]]

    trainer.run(batch_of, reader.loss, clock)
    trainer.finish()
    encoder.requires_grad_(False)
    log.write(stage="text", event="done", loss=reader.loss(ids[::20], answers[::20]).item())
    save_atomically(encoder.state_dict(), finished)
    return encoder
