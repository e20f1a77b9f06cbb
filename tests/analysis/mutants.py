"""Damages traces in every way that a seed chooses. Each mutation changes the files of one output folder and says what it did."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import synthetic
import synthetic1

Random = np.random.Generator
#: Texts that are markup, formulas, escapes or control characters, or that are too long.
TEXTS = ("<script>alert(1)</script>", r"$\frac{1$", "$x^{", "\x1b[31mred\x1b[0m", "a\nb\r\nc", "\x00\x01",
         "\N{RIGHT-TO-LEFT OVERRIDE}abc", "%s %d {0}", "x" * 100_000,
         "", "\N{GRINNING FACE}", "../../etc/passwd", "'\"&<>`", "nan", "-1", "\N{COMBINING ACUTE ACCENT}" * 50,
         "cfg0 x ulysses0", "cfg9999999 x ulysses1")
NUMBERS = (0, -1, 1, 2**31 - 1, -2**31, 2**63 - 1, 10**12)
FLOATS = (float("nan"), float("inf"), -float("inf"), 1e300, -1e300, 1e-300, -1.0, 0.0)


def originals(folder: Path) -> list[Path]:
    """Good output folders of both formats: one group, two groups, a team, a killed start."""
    folders = [folder / name for name in ("old", "one", "team", "killed")]
    synthetic.scaled_run(2, steps=4, items=2, samples=True).write(folders[0])
    synthetic1.Start(group_size=2, items=2, steps=4, parts_s=synthetic.scaled_parts(2, cfg=2, ulysses=1, fsdp=False),
                     layout="cfg2 x ulysses1").write(folders[1])
    synthetic1.Start(groups=2, items=1, steps=4, joins=(synthetic1.Join(0, (0, 1), 0, 2, "cfg2 x ulysses1"),)).write(folders[2])
    synthetic1.Start(items=2, steps=4, killed_after=(1, 2)).write(folders[3])
    return folders


def mutate(original: Path, target: Path, seed: int) -> str:
    """Copies a folder and damages the copy. Returns the name of the mutation."""
    random = np.random.default_rng(seed)
    shutil.copytree(original, target)
    file = target / "trace" / random.choice(sorted(path.name for path in (target / "trace").iterdir()))
    mutation = MUTATIONS[seed % len(MUTATIONS)]
    mutation(file, random)
    return mutation.__name__


def bit_flips(file: Path, random: Random) -> None:
    data = bytearray(file.read_bytes())
    for place in random.integers(len(data) * 8, size=int(random.integers(1, 40))):
        data[place // 8] ^= 1 << (place % 8)
    file.write_bytes(data)


def bit_flips_in_metadata(file: Path, random: Random) -> None:
    data = bytearray(file.read_bytes())
    for place in random.integers(min(len(data), 4096), size=int(random.integers(1, 8))):
        data[place] = random.integers(256)
    file.write_bytes(data)


def truncated(file: Path, random: Random) -> None:
    file.write_bytes(file.read_bytes()[:int(random.integers(file.stat().st_size))])


def bytes_appended_or_zeroed(file: Path, random: Random) -> None:
    data = bytearray(file.read_bytes())
    start = int(random.integers(len(data)))
    data[start:start + 512] = bytes(min(512, len(data) - start))
    file.write_bytes(data + random.bytes(100))


def no_hdf5(file: Path, random: Random) -> None:
    file.write_bytes(random.bytes(int(random.integers(5000))))


def no_regular_file(file: Path, random: Random) -> None:
    file.unlink()
    kind = random.integers(6)
    if kind == 0:
        os.mkfifo(file)
    elif kind == 1:
        file.mkdir()
    elif kind == 2:
        here = Path.cwd()
        os.chdir(file.parent)  # a socket's path may have 100 characters
        try:
            with socket.socket(socket.AF_UNIX) as bound:
                bound.bind(file.name)
        finally:
            os.chdir(here)
    else:
        file.symlink_to(("/dev/zero", "/proc/self/mem", file.name)[kind - 3])


def _dataset(trace: h5py.File, random: Random) -> str:
    return str(random.choice([f"{table}/{column}" for table in trace for column in trace[table]]))


def _replace(trace: h5py.File, name: str, make: Callable[[], object]) -> None:
    del trace[name]
    make()


def huge_or_empty_shape(file: Path, random: Random) -> None:
    with h5py.File(file, "a") as trace:
        tables = [str(random.choice(sorted(trace)))] if random.random() < 0.5 else sorted(trace)
        rows = int(random.choice([0, 1, 3, 10**6, 10**9, 10**12, 2**62]))
        for table in tables:
            columns = list(trace[table])
            for column in columns if random.random() < 0.5 else columns[:1]:
                trace[f"{table}/{column}"].resize(rows, axis=0)


def wrong_type(file: Path, random: Random) -> None:
    with h5py.File(file, "a") as trace:
        name = _dataset(trace, random)
        rows = len(trace[name])
        pair = np.dtype([("a", "i4"), ("b", "f8")])
        values = [np.zeros(rows, pair), np.full(rows, 1.5), np.zeros(rows, "i1"), np.array([b"x"] * rows, "S3"), np.zeros(rows, "c16"),
                  np.zeros(rows, "u8") + np.uint64(2**64 - 1), np.zeros((rows, 2)), np.zeros(()), np.zeros(rows, "f2"), np.zeros(rows, "?"),
                  np.zeros(rows, "V7"), np.zeros(rows, ">i4")][random.integers(12)]
        _replace(trace, name, lambda: trace.create_dataset(name, data=values))


def odd_object(file: Path, random: Random) -> None:
    """References, variable lengths, empty spaces, groups for columns, columns for groups."""
    with h5py.File(file, "a") as trace:
        name = _dataset(trace, random)
        rows, kind = len(trace[name]), random.integers(6)
        table = name.split("/")[0]
        if kind == 0:
            _replace(trace, name, lambda: trace.create_dataset(name, (rows,), dtype=h5py.ref_dtype))
        elif kind == 1:
            _replace(trace, name, lambda: trace.create_dataset(name, (rows,), dtype=h5py.vlen_dtype("f8")))
        elif kind == 2:
            _replace(trace, name, lambda: trace.create_dataset(name, data=h5py.Empty("f8")))
        elif kind == 3:
            _replace(trace, name, lambda: trace.create_group(name))
        elif kind == 4:
            _replace(trace, table, lambda: trace.create_dataset(table, data=np.arange(3)))
        else:
            _replace(trace, table, lambda: trace.__setitem__(table, np.dtype("i4")))


def link_in_the_file(file: Path, random: Random) -> None:
    with h5py.File(file, "a") as trace:
        name = _dataset(trace, random)
        table = name.split("/")[0]
        kind = random.integers(6)
        if kind == 0:
            _replace(trace, name, lambda: trace.__setitem__(name, h5py.SoftLink(f"/{name}")))
        elif kind == 1:
            _replace(trace, name, lambda: trace.__setitem__(name, h5py.ExternalLink("/dev/zero", "/")))
        elif kind == 2:
            os.mkfifo(file.with_suffix(".fifo"))
            _replace(trace, table, lambda: trace.__setitem__(table, h5py.ExternalLink(file.with_suffix(".fifo").name, "/")))
        elif kind == 3:
            _replace(trace, name, lambda: trace.__setitem__(name, trace[table]))
        elif kind == 4:
            trace[f"{table}/{table}"] = trace["/"]
        else:
            rows = len(trace[name])
            _replace(trace, name, lambda: trace.create_dataset(name, (rows,), "f8", external=[("/etc/hostname", 0, 8 * max(rows, 1))]))


def index_that_leads_away(file: Path, random: Random) -> None:
    index = file.parent.parent / "trace.h5"
    targets = ("/dev/zero", "../../elsewhere.h5", "trace.h5", "trace/absent.h5", "/etc/passwd", "trace", "x" * 5000, "trace/fifo.h5")
    target = targets[random.integers(8)]
    if target == "trace/fifo.h5":
        os.mkfifo(file.parent / "fifo.h5")
    with h5py.File(index, "a") as links:
        links["away"] = h5py.ExternalLink(target, "/")
        if random.random() < 0.3:
            links["soft"] = h5py.SoftLink("/away")


def missing_or_extra(file: Path, random: Random) -> None:
    with h5py.File(file, "a") as trace:
        name = _dataset(trace, random)
        kind = random.integers(5)
        if kind == 0:
            del trace[name]
        elif kind == 1:
            del trace[name.split("/")[0]]
        elif kind == 2:
            trace.create_dataset("more/column", data=np.arange(10))
            trace.create_dataset(f"{name}_more", data=[b"<b>"])
        elif kind == 3:
            del trace.attrs[str(random.choice(sorted(trace.attrs)))]
        else:
            for attribute in list(trace.attrs):
                del trace.attrs[attribute]


def odd_attribute(file: Path, random: Random) -> None:
    with h5py.File(file, "a") as trace:
        name = str(random.choice(sorted(trace.attrs)))
        odd = [np.arange(5), h5py.Empty("f8"), np.zeros(2, [("a", "i4")]), True, b"bytes\xff", 1.5, trace["steps"].ref]
        values = [*TEXTS, *NUMBERS, *FLOATS, *odd]
        value = values[random.integers(len(values))]
        trace.attrs[name] = value.replace("\x00", "") if isinstance(value, str) else value


def ranks_that_do_not_fit(file: Path, random: Random) -> None:
    with h5py.File(file, "a") as trace:
        for name in ("ranks", "group", "groups", "world_ranks", "format"):
            if name in trace.attrs and random.random() < 0.5:
                trace.attrs[name] = np.int64(random.choice([0, -1, 1, 2, 3, 7, 10**9, 2**62]))


def odd_numbers(file: Path, random: Random) -> None:
    with h5py.File(file, "a") as trace:
        for _ in range(int(random.integers(1, 6))):
            dataset = trace[_dataset(trace, random)]
            if not len(dataset) or dataset.dtype.kind not in "iuf":
                continue
            place = int(random.integers(len(dataset))) if random.random() < 0.7 else slice(None)
            value = random.choice(FLOATS) if dataset.dtype.kind == "f" else int(random.choice(NUMBERS))
            if dataset.dtype.kind != "f":
                limits = np.iinfo(dataset.dtype)
                value = min(max(value, limits.min), limits.max)
            dataset[place] = value


def odd_texts(file: Path, random: Random) -> None:
    with h5py.File(file, "a") as trace:
        names = [f"{table}/{column}" for table in trace for column in trace[table]
                 if h5py.check_string_dtype(trace[table][column].dtype) is not None and len(trace[table][column])]
        for name in random.choice(names, size=3):
            value = str(random.choice(TEXTS)).replace("\x00", "")
            trace[name][:] = [value] * len(trace[name])


def rows_in_disorder(file: Path, random: Random) -> None:
    """Rows of a table shuffled or doubled: what is true of each row does not hold for all of them."""
    with h5py.File(file, "a") as trace:
        table = str(random.choice(sorted(trace)))
        rows = min(len(dataset) for dataset in trace[table].values())
        order = random.integers(rows, size=rows) if random.random() < 0.5 else random.permutation(rows)
        for dataset in trace[table].values():
            if rows:
                dataset[:rows] = dataset[:rows][order]


def odd_name(file: Path, random: Random) -> None:
    names = (b"a\nb.h5", b"\xff\xfe.h5", b"<b>.h5", b"$\\frac{1$.h5", b"-o.h5", b"\x1b[2J.h5")
    (file.parent.parent / "trace.h5").unlink()
    file.rename(os.fsdecode(os.fsencode(file.parent) + b"/" + names[random.integers(len(names))]))


MUTATIONS = (
    bit_flips, bit_flips_in_metadata, truncated, bytes_appended_or_zeroed, no_hdf5, no_regular_file, huge_or_empty_shape, wrong_type,
    odd_object, link_in_the_file, index_that_leads_away, missing_or_extra, odd_attribute, ranks_that_do_not_fit, odd_numbers, odd_texts,
    rows_in_disorder, odd_name, bit_flips, odd_numbers)
