"""The operations of a step against those that `wan_batch --plan --task i2v-A14B` prints."""

import pytest
from wan_analysis.operations import attention_flop, linear_flop, step_flop, tokens


@pytest.mark.parametrize(("size", "passes", "ranks", "linear", "attention"), [
    ((832, 480, 81), 2, 1, "1.57", "1.79"),  # --gpus 1 --size 832*480
    ((1280, 720, 81), 2, 4, "0.904", "2.36"),  # --gpus 4 --size 1280*720
    ((832, 480, 81), 1, 8, "0.0979", "0.112"),  # --gpus 8 --size 832*480 --sample-guide-scale 1
    ((1280, 720, 81), 2, 1, "3.61", "9.43")])
def test_they_are_those_of_the_plan(size, passes, ranks, linear, attention):
    assert f"{linear_flop(*size, passes) / ranks / 1e15:.3g}" == linear
    assert f"{attention_flop(*size, passes) / ranks / 1e15:.3g}" == attention


def test_attention_grows_with_the_square_of_the_frames():
    one, two = tokens(832, 480, 81), tokens(832, 480, 165)
    assert (one, two) == (32760, 65520)
    assert linear_flop(832, 480, 165, 2) / linear_flop(832, 480, 81, 2) == 2
    assert attention_flop(832, 480, 165, 2) / attention_flop(832, 480, 81, 2) == pytest.approx(2 * (two + 512) / (one + 512))
    assert step_flop(832, 480, 81, 1) == step_flop(832, 480, 81, 2) / 2
