"""The package wan-analysis: its version, its parts, and what its commands do where something is missing.

With WAN_NIGHTLY=1 it is also built and installed into an environment of its own, which needs PyPI: there all commands run without
PyTorch, the example notebook runs in a kernel, and the environment stays small.
"""

import importlib.util
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import synthetic1
import test_notebook
import wan_analysis
from wan_analysis import quality_command
from wan_analysis.cli import main
from wan_analysis.version import checkout_version

PROJECT = Path(__file__).resolve().parents[2]
ANALYSIS = PROJECT / "analysis"
H200 = ANALYSIS / "results" / "wan_batch_4xh200.h5"
NIGHTLY = pytest.mark.skipif(not os.environ.get("WAN_NIGHTLY"), reason="needs PyPI and a minute; set WAN_NIGHTLY=1")
MOST_BYTES, MOST_BYTES_WITH_NOTEBOOKS = 300e6, 400e6
#: Without a user's settings: PYTHONPATH would make the checkout's package the one that runs.
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "WAN_"))}


def in_text(key: str) -> str:
    """The text behind `key =` in pyproject.toml. Python 3.10 has no reader of TOML."""
    found = re.search(rf"^{re.escape(key)} = (.*)$", (ANALYSIS / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert found, key
    return found[1]


def bounds(key: str) -> dict[str, tuple[int, ...]]:
    """Package -> lowest version, of a list of requirements in pyproject.toml."""
    found = re.findall(r'"([\w-]+)>=([\d.]+)"', in_text(key))
    return {name: tuple(map(int, version.split("."))) for name, version in found}


def run(*command: object, cwd: Path, code: int = 0) -> subprocess.CompletedProcess:
    done = subprocess.run([*map(str, command)], cwd=cwd, env=CLEAN | {"IPYTHONDIR": str(cwd)}, capture_output=True, text=True, check=False)
    assert done.returncode == code, done
    return done


def test_the_version_is_that_of_wan_batch(tmp_path, capsys):
    stated = re.search(r"^project\(wan_batch VERSION ([\d.]+)", (PROJECT / "CMakeLists.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert wan_analysis.__version__ == stated[1]
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out == f"wan-analysis {stated[1]}\n"
    assert checkout_version(tmp_path) is None
    (tmp_path / "CMakeLists.txt").write_text("project(another VERSION 1.2)\n")
    assert checkout_version(tmp_path) is None


def test_setup_installs_what_the_package_asks_for():
    script = (PROJECT / "jobs" / "setup.sh").read_text(encoding="utf-8")
    pinned = {name: tuple(map(int, version.split("."))) for name, version in re.findall(r"\b([\w-]+)==([\d.]+)", script)}
    asked = bounds("dependencies")
    assert set(asked) == {"h5py", "numpy", "pandas", "matplotlib"}
    extra = bounds("quality")
    assert set(extra) == set(quality_command.NEEDED.values())
    for name, lowest in (asked | extra).items():
        assert re.search(rf"\b{name}\b", script), name
        assert pinned.get(name, lowest) >= lowest, name


def test_no_module_but_quality_needs_more_than_the_package_installs():
    """Imports every module with all others forbidden. PyTorch in the environment of the tests must not hide a need for it."""
    modules = sorted(path.stem for path in (ANALYSIS / "wan_analysis").glob("*.py") if not path.stem.startswith(("__", "quality")))
    script = ("import sys, importlib\n"
              "for name in ('torch', 'safetensors', 'av', 'skimage', 'scipy', 'nbclient'):\n    sys.modules[name] = None\n"
              f"for name in {[*modules, 'quality_command']!r}:\n    importlib.import_module('wan_analysis.' + name)\n")
    run(sys.executable, "-B", "-c", script, cwd=ANALYSIS)


def test_quality_says_which_packages_are_missing(tmp_path, monkeypatch, capsys):
    present = importlib.util.find_spec
    monkeypatch.setattr(quality_command, "find_spec", lambda name: None if name in ("av", "skimage") else present(name))
    assert main(["quality", str(tmp_path), "-o", str(tmp_path / "q.html")]) == 1
    said = capsys.readouterr().err
    assert "missing: av, scikit-image" in said
    assert "./analysis[quality]" in said
    assert not (tmp_path / "q.html").exists()


def test_a_score_without_the_demos_judge_is_refused(tmp_path, monkeypatch, capsys):
    for module in quality_command.NEEDED:
        pytest.importorskip(module, reason="jobs/setup.sh installs it")
    monkeypatch.setattr("wan_analysis.quality_world.WORLD", tmp_path)
    assert main(["quality", str(tmp_path), "--least-score", "0.9"]) == 1
    assert "only a checkout of wan_batch has" in capsys.readouterr().err


@pytest.mark.parametrize("own", [False, True])
def test_a_nightly_outside_a_checkout_takes_the_bounds_of_the_package(tmp_path, monkeypatch, capsys, own):
    stored = json.loads((ANALYSIS / "references" / "NVIDIA_H200.json").read_text(encoding="utf-8"))
    key = next(name for name in stored if "s_per_step" in stored[name])
    monkeypatch.setattr("wan_analysis.nightly.bounds_key", lambda _: key)
    monkeypatch.setattr("wan_analysis.nightly.trend_page", lambda *_: "")
    own_bound = {"s_per_step": [0.7, None, 0.1, "s"]}
    if own:
        folder = tmp_path / "analysis" / "references"
        folder.mkdir(parents=True)
        (folder / "NVIDIA_H200.json").write_text(json.dumps({key: own_bound}))
    result = {name: value[0] for name, value in stored[key].items() if "/" not in name} | {
        "gpus": 4, "gpu_model": "NVIDIA H200", "model": "a", "size": "832*480", "frame_num": 81, "precision": "bf16", "layout": "x",
        "parts_s": {name.removeprefix("parts_s/"): value[0] for name, value in stored[key].items() if "/" in name}}
    code = main(["nightly", "--project", str(tmp_path), "--", sys.executable, "-c", f"print({json.dumps(json.dumps(result))})"])
    told = capsys.readouterr()
    assert code == (3 if own else 0), told
    place = tmp_path / "analysis" / "references" if own else ANALYSIS / "references"
    assert f"the bounds of {place / 'NVIDIA_H200.json'} hold" in told.out
    assert (tmp_path / "nightly" / "history.jsonl").is_file()


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A fresh environment with the package of this checkout. Its folder `wheel` holds the wheel."""
    folder = tmp_path_factory.mktemp("fresh")
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    pip = (folder / "venv" / "bin" / "python", "-m", "pip", "--quiet", "--disable-pip-version-check")
    run(*pip, "wheel", "--no-deps", "--wheel-dir", folder / "wheel", ANALYSIS, cwd=folder)
    run(*pip, "install", "--no-cache-dir", *(folder / "wheel").iterdir(), cwd=folder)
    return folder


def environment_bytes(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


@NIGHTLY
def test_the_wheel_has_every_module_the_references_and_the_command(installed):
    (wheel,) = (installed / "wheel").iterdir()
    assert wheel.name == f"wan_analysis-{wan_analysis.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
        entry = file.read(f"wan_analysis-{wan_analysis.__version__}.dist-info/entry_points.txt").decode()
    modules = {f"wan_analysis/{path.name}" for path in (ANALYSIS / "wan_analysis").glob("*.py")}
    references = {f"wan_analysis/references/{path.name}" for path in (ANALYSIS / "references").glob("*.json")}
    assert {name for name in names if ".dist-info/" not in name} == modules | references
    assert "wan-analysis = wan_analysis.cli:main" in entry


@NIGHTLY
def test_commands_run_in_a_fresh_environment_without_pytorch(installed, tmp_path):
    run(installed / "venv" / "bin" / "python", "-c", "import torch", cwd=tmp_path, code=1)
    program = installed / "venv" / "bin" / "wan-analysis"
    assert run(program, "--version", cwd=tmp_path).stdout == f"wan-analysis {wan_analysis.__version__}\n"
    run(program, "report", H200, "-o", "r.html", "--json", "r.json", "--png", "charts", cwd=tmp_path)
    run(program, "advise", H200, "--videos", "500", "--json", "a.json", cwd=tmp_path)
    html = (tmp_path / "r.html").read_text(encoding="utf-8")
    shown = {key: float(value) for value, key in re.findall(r'<data value="([^"]+)" data-key="([^"]+)">', html)}
    assert shown == json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["values"]
    for number in (1, 2):
        synthetic1.Start(name=f"r{number}", seed=number, group_size=number, layout=f"cfg{number} x ulysses1", steps=8,
                         noise=0.001).write(tmp_path / f"out{number}")
    run(program, "compare", "out1", "out1", cwd=tmp_path)
    run(program, "model", "out1", "out2", "--gpus", "2", cwd=tmp_path)
    run(program, "export", H200, "--csv", "tables", "--perfetto", "timeline.json", cwd=tmp_path)
    assert "missing: av, safetensors, scikit-image" in run(program, "quality", "a", "b", cwd=tmp_path, code=1).stderr
    assert environment_bytes(installed / "venv") <= MOST_BYTES


@NIGHTLY
def test_the_notebook_runs_in_a_kernel(installed, tmp_path):
    """Comes last, because it adds the runner of notebooks to the environment."""
    (wheel,) = (installed / "wheel").iterdir()
    python = installed / "venv" / "bin" / "python"
    run(python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-cache-dir", f"{wheel}[notebook]", cwd=tmp_path)
    assert environment_bytes(installed / "venv") <= MOST_BYTES_WITH_NOTEBOOKS
    test_notebook.write_study(tmp_path)
    script = ("import nbclient, nbformat, sys\nnotebook = nbformat.read(sys.argv[1], 4)\n"
              "nbclient.NotebookClient(notebook, timeout=120, kernel_name='python3').execute()\nnbformat.write(notebook, 'made.ipynb')\n")
    run(python, "-c", script, test_notebook.NOTEBOOK, cwd=tmp_path)
    made = json.loads((tmp_path / "made.ipynb").read_text(encoding="utf-8"))
    outputs = [output for cell in made["cells"] for output in cell.get("outputs", [])]
    assert "Look at rank 2 of r4" in "".join("".join(output.get("text", "")) for output in outputs)
    assert any("image/png" in output.get("data", {}) for output in outputs)
