"""Work and layouts of step series: what a trace says, what follows from it, and what stays unknown."""

import h5py
import pandas as pd
import pytest
import synthetic
from synthetic1 import Start
from wan_analysis.command_line import given_options, switch
from wan_analysis.run import Run, gather_runs
from wan_analysis.series import Layout, LayoutNames, Work, differences, not_recorded, step_series
from wan_analysis.stragglers import stragglers
from wan_analysis.study import make_study
from wan_analysis.trace_file import GroupTrace, read_traces

COMMAND = "--ckpt-dir ckpt {} manifest.csv"


def series_of(tmp_path, command="", **options):
    run = synthetic.Synthetic(steps=3, samples=False, attributes={"command": COMMAND.format(command)}, **options)
    run.write(tmp_path)
    return [found for one in gather_runs(read_traces([tmp_path]).groups) for found in step_series(one)]


def test_options_are_read_as_the_program_reads_them():
    given = given_options("--precision=fp32 --dit_fsdp --attention reference --sample-guide 1:1 --off on m.csv --prompt a --solver b")
    assert given == {"precision": "fp32", "dit-fsdp": "", "attention": "reference", "sample-guide-scale": "1:1", "offload-model": "on"}
    assert switch(given, "dit-fsdp") == "on"
    assert switch({"dit-fsdp": "m.csv"}, "dit-fsdp") == "on"  # the value may be left out
    assert switch({"dit-fsdp": "auto"}, "dit-fsdp") is None
    assert switch({}, "dit-fsdp") is None


@pytest.mark.parametrize(("command", "layout", "passes", "precision"), [
    ("", "cfg1 x ulysses1", None, None), ("--sample-guide-scale 1", "cfg1 x ulysses1", 1, None),
    ("--sample-guide-scale 3:4 --precision exact", "cfg1 x ulysses1", 2, "bf16"),
    ("--sample-guide-scale 1:4", "cfg1 x ulysses1", None, None),
    ("", "cfg2 x ulysses1", 2, None)])
def test_the_work_of_format_0_is_what_follows_from_it(tmp_path, command, layout, passes, precision):
    ranks = 2 if layout.startswith("cfg2") else 1
    (found,) = series_of(tmp_path, command, layout=layout, group_size=ranks)
    assert found.work == Work("i2v-A14B", "NVIDIA H200", precision, 832, 480, 81, passes)


@pytest.mark.parametrize(("command", "placement", "attention", "name"), [
    ("", None, None, "cfg2 x ulysses1"), ("--dit-fsdp on", "sharded over 2", None, "cfg2 x ulysses1, sharded over 2"),
    ("--dit-fsdp on --offload-model", "sharded over 2, offloaded", None, "cfg2 x ulysses1, sharded over 2, offloaded"),
    ("--dit-fsdp off --offload-model off", "whole", None, "cfg2 x ulysses1"),
    ("--attention reference", None, "reference", "cfg2 x ulysses1, attention reference")])
def test_options_that_change_the_way_of_computing_are_layouts_of_their_own(tmp_path, command, placement, attention, name):
    (found,) = series_of(tmp_path, command, layout="cfg2 x ulysses1", group_size=2)
    assert found.layout == Layout(2, 2, 1, placement, attention)
    assert LayoutNames([found.layout, Layout(2, 2, 1)]).name(found.layout) == name


def test_steps_of_a_joined_team_have_the_layout_of_the_team(tmp_path):
    run = synthetic.Synthetic(groups=4, steps=4, samples=False)
    run.write(tmp_path)
    file = tmp_path / "trace" / f"{run.name}-g00.h5"
    synthetic.add_ranks(file, [1, 2, 3], from_step=2)
    (group,) = read_traces([file]).groups
    team, alone = sorted(step_series(Run("a", [group])), key=lambda series: -len(series.ranks))
    assert (team.ranks, str(team.layout), len(team.steps), len(team.measured)) == ((0, 1, 2, 3), "cfg2 x ulysses2", 8, 4)
    assert (alone.ranks, str(alone.layout), len(alone.steps), len(alone.measured)) == ((0,), "cfg1 x ulysses1", 2, 1)


class Told(Run):
    """A run whose steps have the columns of format 1."""

    @property
    def rank_steps(self):
        told = {"layout": "cfg1 x ulysses1", "placement": "unknown", "precision": "bf16", "passes": -1, "solver": "euler",
                "attention_backend": "cudnn", "head_chunks": 1, "ranks": "0", "warm_up": 0}
        return pd.DataFrame({**{name: self.groups[0].steps[name] for name in self.groups[0].steps}, "group": 0, "width": 832,
                             "height": 480, "frames": 81} | told)


def test_what_format_1_says_counts_and_the_command_line_fills_what_it_does_not_know(tmp_path):
    synthetic.Synthetic(steps=3, samples=False).write(tmp_path)
    (group,) = read_traces([tmp_path]).groups
    group.attributes["command"] = COMMAND.format("--sample-guide-scale 5 --dit-fsdp off --offload-model off")
    (found,) = step_series(Told("a", [GroupTrace(**vars(group))]))
    assert found.work == Work("i2v-A14B", "NVIDIA H200", "bf16", 832, 480, 81, 2, "euler")
    assert found.layout == Layout(1, 1, 1, "whole", "cudnn", 1)
    assert len(found.measured) == len(found.steps) == 3


def test_work_is_compared_by_what_both_know():
    work = Work("i2v-A14B", "NVIDIA H200", "bf16", 832, 480, 81, 2, "unipc")
    unknown = Work("i2v-A14B", "NVIDIA H200", None, 832, 480, 81, None)
    other = Work("i2v-A14B", "NVIDIA H200", "bf16", 832, 480, 81, 1, "unipc")
    assert differences(work, unknown) == []
    assert not_recorded([work, unknown]) == ["precision", "passes of a step", "solver"]
    assert differences(work, other) == [("passes of a step", "2", "1")]


def test_a_layout_that_no_program_writes_is_a_name_and_no_error(tmp_path):
    (found,) = series_of(tmp_path, layout="$\\frac{1$ cfg999999999 x")
    assert str(found.layout) == "1 ranks, layout not recorded"


def test_names_of_layouts_hold_what_differs():
    plain, other = Layout(4, 2, 2, "whole", "cudnn", 2), Layout(1, 1, 1, "whole", "cudnn", 1)
    names = LayoutNames([plain, other])
    assert (names.name(plain), names.name(other), names.kind(plain)) == ("cfg2 x ulysses2", "cfg1 x ulysses1", "")
    chunked, math = Layout(4, 2, 2, "whole", "cudnn", 5), Layout(4, 2, 2, "sharded over 4, offloaded", "math", 2)
    names = LayoutNames([plain, chunked, math])
    assert names.name(plain) == "cfg2 x ulysses2, attention cudnn, 2 head chunks"
    assert names.name(chunked) == "cfg2 x ulysses2, attention cudnn, 5 head chunks"
    assert names.name(math) == "cfg2 x ulysses2, sharded over 4, offloaded, attention math"
    assert names.kind(math) == "sharded, offloaded, attention math"


def test_groups_on_other_gpu_models_are_not_taken_together(tmp_path):
    """The mean of both would be called that of the first group's model, and the slower model a late rank."""
    Start(steps=10, items=2, groups=2, cards={1: 1.6}).write(tmp_path)
    with h5py.File(next((tmp_path / "trace").glob("*-g01.h5")), "r+") as file:
        file["ranks/gpu_model"][...] = "NVIDIA A100"
    study = make_study(read_traces([tmp_path]))
    assert study.runs[0].device == "NVIDIA A100 and NVIDIA H200"
    found = {table.work.device: table.base.step_s for table in study.step_tables}
    assert set(found) == {"NVIDIA A100", "NVIDIA H200"}
    assert found["NVIDIA A100"] > 1.5 * found["NVIDIA H200"]
    assert stragglers(study.runs[0]) == []
