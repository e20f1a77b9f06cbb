"""A training step as a CUDA graph: its many small kernels are recorded once and then start together.

Without it a GPU waits for Python between the kernels: these networks are small.
"""

from collections.abc import Callable

import torch

WARM_UPS = 3  # runs before the recording, in which libraries allocate their working memory and compilers compile


class RecordedStep:
    """`work` with the tensors of one batch as arguments. Their shapes never change, and it neither waits for the GPU nor reads from it.

    `kept` are the tensors that `work` changes: they are as before after the recording.
    """

    def __init__(self, work: Callable[..., torch.Tensor], batch: list[torch.Tensor], kept: Callable[[], list[torch.Tensor]]):
        self.batch = [part.clone() for part in batch]
        before = [tensor.clone() for tensor in kept()]
        own = torch.cuda.Stream()
        own.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(own):
            for _ in range(WARM_UPS):
                work(*self.batch)
        torch.cuda.current_stream().wait_stream(own)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.loss = work(*self.batch)
        self._restore(kept(), before)

    @staticmethod
    @torch.no_grad()
    def _restore(tensors: list[torch.Tensor], before: list[torch.Tensor]) -> None:
        for place, tensor in enumerate(tensors):
            # Tensors that the first run made, such as the optimizer's sums, began at zero.
            tensor.copy_(before[place]) if place < len(before) else tensor.zero_()

    def __call__(self, *batch: torch.Tensor) -> torch.Tensor:
        """The loss, in memory that the next call overwrites."""
        for own, given in zip(self.batch, batch, strict=True):
            own.copy_(given)
        self.graph.replay()
        return self.loss


class RecordedSteps:
    """`work`, recorded once for each set of shapes that a batch has."""

    def __init__(self, work: Callable[..., torch.Tensor], kept: Callable[[], list[torch.Tensor]]):
        self.work, self.kept = work, kept
        self.recorded: dict[tuple[torch.Size, ...], RecordedStep] = {}

    def __call__(self, *batch: torch.Tensor) -> torch.Tensor:
        shapes = tuple(part.shape for part in batch)
        if shapes not in self.recorded:
            self.recorded[shapes] = RecordedStep(self.work, list(batch), self.kept)
        return self.recorded[shapes](*batch)
