"""Everything that a run refuses before it loads a model: one line with the problem, its place and the remedy, and nothing made."""

import json
import os
import subprocess
import sys

import pytest

from prompts import answers
from prompts.model_folder import checksum, inspect
from prompts.problems import UsageProblem
from prompts_case import DONE, PROGRAM, PROJECT, USAGE, StandIn, extend_prompts, make_folder, manifest

ROWS = "prompt,seed\ncat,1\n"


def test_manifests_are_refused_as_wan_batch_refuses_them(case):
    case.refused(case.run(case.write("promt\nx\n")), "rows.csv:1:1: unknown column 'promt'; did you mean 'prompt'?")  # codespell:ignore
    case.refused(case.run(case.write('prompt,seed\na"b,1\ncat,2\n,"x"y,\n')),
                 "rows.csv:2:2: a quote in the middle of a field", "(2 rows are like this)", "cannot be written again unchanged")
    case.refused(case.run(case.folder / "gone.csv"), "gone.csv is no file")
    case.refused(case.run("-"), "- is no file")
    assert not (case.folder / "longer.csv.rows").exists() and not StandIn.asked


def test_outputs_that_would_be_read_in_another_way_are_refused(case):
    rows = case.write("image,prompt\na.png,cat\n")
    (case.folder / "other").mkdir()
    case.refused(case.run(rows, output=case.folder / "other" / "longer.csv"),
                 "rows.csv, whose line 2 names an image relative to its own folder")
    case.refused(case.run(rows, output=rows), "is the manifest itself")
    case.refused(case.run(rows, output=case.folder / "longer.jsonl"), "the manifest is CSV, so the output is CSV")
    case.refused(case.run(rows, output=case.folder / "gone" / "longer.csv"), "the folder", "is not there")


def test_a_text_model_refuses_rows_with_images(case):
    model = make_folder(case.folder / "text-model")
    rows = case.write("image,prompt\n,cat\na.png,dog\n")
    case.refused(case.run(rows, "--model", model), "rows.csv:3: the row has an image, and text-model is a text model (qwen2)")


@pytest.mark.parametrize(("words", "said"), [
    (["--seed", "-1"], "'-1' is not a whole number from 0"), (["--seed", "1.5"], "is not a whole number"),
    (["--target-lang", "fr"], "invalid choice: 'fr'"), (["--shard", "2/2"], "'2/2' is not a share"), (["--shard", "x"], "is not a share"),
    (["--max-new-tokens", "513"], "from 1 to 512"), (["--row-seconds", "61"], "above 0 and up to 60"),
    (["--row-seconds", "nan"], "above 0"),
    (["--no-such-option"], "unrecognized arguments")])
def test_options_out_of_range(case, words, said):
    result = case.run(case.write(ROWS), *words)
    assert result.code == USAGE and said in result.err, result
    assert not StandIn.asked


def test_programs_and_libraries_that_are_not_there(case, monkeypatch, tmp_path):
    rows = case.write(ROWS)
    case.refused(case.run(rows, "--wan-batch", case.folder / "nothing"), "is no program")
    case.refused(case.run(rows, "--wan-batch", "/bin/false"), "/bin/false --list-rows ended with 1")
    case.refused(case.run(rows, "--wan-batch", "/bin/echo"), "printed something else than JSON lines")
    case.refused(case.run(rows, "--tokenizer", case.folder), "has no tokenizer.json of umT5")
    monkeypatch.setattr(extend_prompts, "LIBRARIES", ("json", "not_there_at_all"))
    case.refused(case.run(rows), "not installed: not_there_at_all; run jobs/setup.sh --with prompts")
    monkeypatch.delenv("WAN_CKPT_DIR", raising=False)
    with pytest.raises(UsageProblem, match="there is no umT5 tokenizer"):
        answers.find_tokenizer(None, [tmp_path / "cache"])


def test_a_gpu_that_is_not_there(monkeypatch):
    torch = pytest.importorskip("torch")
    from prompts.generator import choose_device

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == choose_device("cpu") == "cpu"
    with pytest.raises(UsageProblem, match="--device cuda: PyTorch sees no GPU here"):
        choose_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setenv("SLURM_LOCALID", "6")
    assert choose_device("auto") == "cuda:2"


def change(folder, name, **fields):
    path = folder / name
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(known | fields))


def with_pickle(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


OWN_CODE = "asks for code of its own (auto_map)"
MODELS = {
    "code of its own": (lambda f: change(f, "config.json", auto_map={"AutoModel": "modeling.Model"}), OWN_CODE),
    "a tokenizer's code": (lambda f: change(f, "tokenizer_config.json", auto_map={"AutoTokenizer": ["t.T", None]}), OWN_CODE),
    "an image processor's code": (lambda f: change(f, "preprocessor_config.json", auto_map={"A": "p.P"}), OWN_CODE),
    "generation of its own": (lambda f: (f / "custom_generate").mkdir(), "has code of its own for generation"),
    "pickled weights": (with_pickle, "has its weights in pytorch_model.bin; only safetensors are read"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "has no weights (model.safetensors or"),
    "a missing shard": (lambda f: change(f, "model.safetensors.index.json", weight_map={"a": "model-2.safetensors"}),
                        "model-2.safetensors is missing"),
    "a shard elsewhere": (lambda f: change(f, "model.safetensors.index.json", weight_map={"a": "../x.safetensors"}),
                          "names '../x.safetensors', which is no safetensors file of this folder"),
    "an empty index": (lambda f: change(f, "model.safetensors.index.json", weight_map={}), "names no weights"),
    "another kind": (lambda f: change(f, "config.json", model_type="llama"),
                     'model_type is "llama"; there are qwen2, qwen2_vl, qwen2_5_vl'),
    "quantised": (lambda f: change(f, "config.json", quantization_config={"bits": 4}), "the weights are quantised"),
    "an adapter": (lambda f: change(f, "adapter_config.json"), "is an adapter"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "has no tokenizer.json"),
    "no configuration": (lambda f: (f / "config.json").unlink(), "has no config.json"),
    "a damaged configuration": (lambda f: (f / "config.json").write_text("{"), "config.json: cannot be read"),
    "a list": (lambda f: (f / "config.json").write_text("[1]"), "is no JSON object"),
    "deep nesting": (lambda f: (f / "generation_config.json").write_text("[" * 200_000), "generation_config.json: cannot be read"),
    "no processor": (lambda f: (f / "preprocessor_config.json").unlink(), "has no preprocessor_config.json"),
}


@pytest.mark.parametrize("name", MODELS)
def test_models_that_are_refused(tmp_path, name):
    spoil, said = MODELS[name]
    folder = make_folder(tmp_path / "m", model_type="qwen2_5_vl")
    assert inspect(folder, "m").sees_images
    spoil(folder)
    with pytest.raises(UsageProblem) as caught:
        inspect(folder, "m")
    assert said in str(caught.value) and str(folder) in str(caught.value)


def test_names_that_are_no_model(case):
    rows = case.write(ROWS)
    for name in ("nothing", "a/b/c", "../x/y", "Qwen/..", "https://x/y"):
        case.refused(case.run(rows, "--model", name), "is neither a folder nor a name of the hub")


def test_a_name_of_the_hub_is_downloaded_once(case, monkeypatch):
    sys.path[:0] = [str(PROJECT / "tests" / "analysis")]
    from hub_stand_in import Hub

    folder = make_folder(case.folder / "source")
    hub = Hub("Qwen/Qwen2.5-3B-Instruct", {path.name: path.read_bytes() for path in folder.iterdir()} | {"modeling.py": b"1/0"})
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    import huggingface_hub.constants as constants

    for module in [module for name, module in sys.modules.items() if name.startswith("huggingface_hub") and hasattr(module, "ENDPOINT")]:
        monkeypatch.setattr(module, "ENDPOINT", hub.endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}")
    try:
        rows, cache = case.write(ROWS), case.folder / "cache"
        result = case.run(rows, "--model", "Qwen2.5_3B", "--cache", cache, "--dry-run")
        assert result.code == DONE, result
        assert "1 different prompts to extend with Qwen/Qwen2.5-3B-Instruct; nothing was written" in result.out
        assert (cache / "Qwen2.5-3B-Instruct" / "model.safetensors").is_file()
        assert not (cache / "Qwen2.5-3B-Instruct" / "modeling.py").exists()
    finally:
        hub.close()
    case.refused(case.run(rows, "--model", "Qwen2.5_7B", "--cache", cache), "--model Qwen/Qwen2.5-7B-Instruct: the hub ")
    assert case.run(rows, "--model", "Qwen2.5_3B", "--cache", cache).code == DONE, "without the hub"
    row, = case.rows()
    assert row["extend_model"] == "Qwen/Qwen2.5-3B-Instruct"


def test_a_dry_run_writes_nothing(case):
    rows = case.write(ROWS)
    before = sorted(case.folder.rglob("*"))
    result = case.run(rows, "--dry-run")
    assert result.code == DONE and "1 rows, 1 different prompts" in result.out, result
    assert sorted(case.folder.rglob("*")) == before and not StandIn.asked


def test_the_checksum_follows_the_content(tmp_path):
    folder = make_folder(tmp_path / "m")
    first = checksum(inspect(folder, "m"), tmp_path / "sums")
    assert checksum(inspect(folder, "m"), tmp_path / "sums") == first
    assert checksum(inspect(make_folder(tmp_path / "copy"), "m"), tmp_path / "none") == first, "the same files elsewhere"
    (folder / "model.safetensors").write_bytes(b"Weights")
    assert checksum(inspect(folder, "m"), tmp_path / "sums") != first
    (tmp_path / "sums").write_text("[]")
    assert checksum(inspect(make_folder(tmp_path / "third"), "m"), tmp_path / "sums") == first


def test_the_rows_are_listed_by_one_process_whatever_started_this_one(case, monkeypatch):
    """Under srun or mpirun each task asks for itself."""
    for name in ("SLURM_STEP_NUM_TASKS", "PMIX_RANK", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_NTASKS"):
        monkeypatch.setenv(name, "4")
    monkeypatch.setenv("SLURM_PROCID", "3")
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "3")
    assert len(manifest.read(PROGRAM, case.write("prompt\ncat\n")).rows) == 1


def test_help_names_every_option_and_exit_code():
    environment = os.environ | {"COLUMNS": "200"}
    done = subprocess.run([sys.executable, "-B", PROJECT / "jobs" / "extend_prompts.py", "--help"], capture_output=True, text=True,
                          env=environment, check=True)
    for option in ("MANIFEST", "--output", "--model", "--target-lang", "--system-prompt", "--seed", "--device", "--tokenizer",
                   "--max-new-tokens", "--row-seconds", "--shard", "--cache", "--wan-batch", "--dry-run", "Exit codes", "docs/prompts.md"):
        assert option in done.stdout, option
