"""Runs trace_write_and_die (argv[1]) and reads what it left with h5py, as a user would."""
import pathlib
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

with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "trace.h5"
    died = subprocess.run([sys.argv[1], path, str(STEPS)], check=False)
    assert died.returncode == -signal.SIGKILL, died
    with h5py.File(path, "r") as trace:
        assert trace.attrs["version"] == "0.1.0" and trace.attrs["gpus"] == 2
        assert trace["items/id"].asstr()[:].tolist() == ["größe-1"]
        assert trace["items/seed"][0] == 1 << 60
        steps = trace["steps"]
        assert {len(column) for column in steps.values()} == {2 * STEPS}
        assert all("units" in column.attrs for group in trace.values() for column in group.values())
        assert steps["wall_s"].attrs["units"] == "s" and steps["sent_bytes"].attrs["units"] == "byte"
        number = np.repeat(np.arange(STEPS), 2)
        assert (steps["step"][:] == number).all() and (steps["world_rank"][:] == 4 + np.arange(2 * STEPS) % 2).all()
        assert (steps["sent_bytes"][:] == 2**40 + number).all()
        assert (steps["wall_linear_s"][:] == 1 + 0.5 * number).all() and np.isnan(steps["gpu_linear_s"][:]).all()
        names = {value: name for name, value in h5py.check_enum_dtype(steps["expert"].dtype).items()}
        assert [names[value] for value in steps["expert"][4:8]] == ["high_noise"] * 2 + ["low_noise"] * 2
        assert trace["phases/phase"].asstr()[:].tolist() == ["load"] and trace["phases/item"][0] == -1
        assert (steps["item"][:] == 0).all() and len(trace["samples/time_s"]) == 0
    print(f"{path.stat().st_size} bytes for {2 * STEPS} rows")
