"""Runs trace_write_and_die (argv[1]) and reads what it left with h5py, as a user would. Compares it with docs/trace.md."""
import pathlib
import re
import signal
import subprocess
import sys
import tempfile

try:
    import h5py
    import numpy as np
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

STEPS = 300  # more than one chunk
PROJECT = pathlib.Path(__file__).resolve().parents[3]
UNITS = {"1": "1", "s": "s", "byte": "byte", "pixel": "pixel", "W": "W", "degC": "degC", "MHz": "MHz"}
KINDS = {"text": "O", "float": "f", "integer": "iu", "enumeration": "i"}


def documented() -> dict[str, dict[str, tuple[str, str]]]:
    """From table and column to type and unit, as docs/trace.md has them."""
    tables: dict[str, dict[str, tuple[str, str]]] = {}
    columns: dict[str, tuple[str, str]] = {}
    for line in (PROJECT / "docs" / "trace.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if named := re.fullmatch(r"`/(\w+)`", cells[0]):
            columns = tables.setdefault(named[1], {})
        elif line.startswith("| |") and len(cells) >= 6:
            for name in re.findall(r"`(\w+)`", cells[1]):
                assert name not in columns, name
                columns[name] = (cells[3], cells[4])
    return tables


def check_documents(trace) -> None:
    """Every column of the file is in the table, and the other way round."""
    tables = documented()
    assert set(tables) == set(trace), set(tables) ^ set(trace)
    for name, table in trace.items():
        assert set(tables[name]) == set(table), (name, set(tables[name]) ^ set(table))
        for column, values in table.items():
            kind, unit = tables[name][column]
            assert values.attrs["units"] == UNITS[unit], (name, column)
            assert values.dtype.kind in KINDS[kind], (name, column, values.dtype)


def texts(column) -> list[str]:
    return column.asstr()[:].tolist()


def check_values(trace) -> None:
    assert trace.attrs["version"] == "0.1.0" and trace.attrs["gpus"] == 2
    assert texts(trace["items/id"]) == ["größe-1"]
    assert trace["items/seed"][0] == 1 << 60
    steps = trace["steps"]
    assert {len(column) for column in steps.values()} == {2 * STEPS}
    number = np.repeat(np.arange(STEPS), 2)
    assert (steps["step"][:] == number).all() and (steps["world_rank"][:] == 4 + np.arange(2 * STEPS) % 2).all()
    assert (steps["sent_bytes"][:] == 2**40 + number).all()
    assert (steps["wall_linear_s"][:] == 1 + 0.5 * number).all() and np.isnan(steps["gpu_linear_s"][:]).all()
    names = {value: name for name, value in h5py.check_enum_dtype(steps["expert"].dtype).items()}
    assert [names[value] for value in steps["expert"][4:8]] == ["high_noise"] * 2 + ["low_noise"] * 2
    assert (steps["item"][:] == 0).all() and (steps["stretch"][:] == 0).all()
    assert steps["warm_up"][:3].tolist() == [1, 1, 0]
    phases = trace["phases"]
    assert texts(phases["phase"]) == ["load"] and phases["item"][0] == -1 and phases["world_rank"][0] == 4 and phases["background"][0] == 0
    stretches = trace["stretches"]
    assert texts(stretches["ranks"]) == ["4,5,6,7"] and texts(stretches["placement"]) == ["sharded over 2, offloaded"]
    assert stretches["team_width"][0] == 2 and stretches["shift"][0] == 5.5
    ranks = trace["ranks"]
    assert texts(ranks["gpu_uuid"]) == ["GPU-1"] and ranks["power_limit_w"][0] == 700.5 and ranks["numa_node"][0] == 1
    assert trace["clocks/offset_s"][0] == -0.125 and trace["clocks/uncertainty_s"][0] == 1e-6
    assert texts(trace["item_ends/outcome"]) == ["stopped"] and trace["item_ends/steps_done"][0] == 7
    samples = trace["samples"]
    assert samples["sm_clock_mhz"][0] == 1980 and samples["throttle_reasons"][0] == 4 and samples["vram_used_bytes"][0] == 2**36
    assert len(trace["drops/rows"]) == 0


with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "trace.h5"
    died = subprocess.run([sys.argv[1], path, str(STEPS)], check=False)
    assert died.returncode == -signal.SIGKILL, died
    with h5py.File(path, "r") as trace:
        check_documents(trace)
        check_values(trace)
    print(f"{path.stat().st_size} bytes for {2 * STEPS} rows")
