"""Which step of which item is the first whose latent differs."""

import json

import synthetic1
from wan_analysis.cli import main
from wan_analysis.run import gather_runs
from wan_analysis.same_bits import same_bits
from wan_analysis.trace_file import read_traces


def start(folder, **varied):
    usual = {"items": 2, "ids": ("cat", "dog"), "steps": 6, "switch": 3, "group_size": 1, "groups": 1}
    folder.mkdir()
    synthetic1.Start(name=f"20260101T000000Z-{len(list(folder.parent.iterdir())):08}", **(usual | varied)).write(folder)
    return folder


def answer(*folders):
    base, new = (gather_runs(read_traces([folder]).groups) for folder in folders)
    return same_bits(base, new)


def test_equal_latents(tmp_path):
    base, new = start(tmp_path / "base"), start(tmp_path / "new", group_size=2, layout="cfg2 x ulysses1", seed=5)
    bits = answer(base, new)
    assert (bits.answer, bits.items, bits.steps, bits.item, bits.step) == ("equal", 2, 12, "", -1)
    assert bits.text == "the latents of all 12 steps of 2 items are equal"


def test_the_first_step_that_differs_is_named(tmp_path, capsys):
    base, new = start(tmp_path / "base"), start(tmp_path / "new", digests={4: 77, 5: 78})
    bits = answer(base, new)
    assert (bits.answer, bits.item, bits.step) == ("different", "cat", 4)
    file = tmp_path / "bits.json"
    main(["compare", str(base), "--with", str(new), "--json", str(file)])
    told = "bits: item 'cat' differs from step 4 on (steps count from 0; 4 earlier steps equal); 2 of 2 items differ\n"
    assert told in capsys.readouterr().out
    assert json.loads(file.read_text())["bits"]["step"] == 4


def test_other_items(tmp_path):
    base, new = start(tmp_path / "base"), start(tmp_path / "new", stretch={"solver": "euler"}, digests={0: 1})
    bits = answer(base, new)
    assert bits.answer == "other items"
    assert "'cat' has another solver (unipc and euler)" in bits.text
    assert answer(base, start(tmp_path / "named", ids=("cat", "bird"))).text.endswith("'dog' is in one run only; 'bird' is in one run only")


def test_another_gpu_model(tmp_path):
    base = start(tmp_path / "base")
    new = start(tmp_path / "new", digests={2: 5}, attributes={"gpu_model": "NVIDIA H100", "libtorch": "2.12.0"})
    bits = answer(base, new)
    assert (bits.answer, bits.item, bits.step) == ("different", "cat", 2)
    assert "so bits need not be equal" in bits.text
    assert any(place.startswith("GPU model (") and "NVIDIA H100" in place for place in bits.places)
    assert any(place.startswith("version of LibTorch (") for place in bits.places)


def test_a_trace_without_digests(tmp_path):
    base, new = start(tmp_path / "base"), start(tmp_path / "new", digests=dict.fromkeys(range(6), -1))
    assert answer(base, new).answer == "not known"


def test_one_item_made_twice_with_other_latents(tmp_path):
    base = start(tmp_path / "base")
    twice = start(tmp_path / "twice")
    synthetic1.Start(name="20260101T000009Z-00000009", items=2, ids=("cat", "dog"), steps=6, switch=3, group_size=1, groups=1,
                     digests={1: 9}).write(twice)
    assert (answer(base, twice).item, answer(base, twice).step) == ("cat", 1)
