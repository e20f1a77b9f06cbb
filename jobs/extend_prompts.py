#!/usr/bin/env python3
"""Lets a local language model write longer prompts, and writes a manifest with them that wan_batch takes as it is.

    extend_prompts.py MANIFEST -o LONGER.csv --model DIR_OR_NAME [--target-lang zh|en] [--tokenizer CKPT] ...

Each row keeps all its other cells. It gets the columns original_prompt, extend_model, extend_model_sha256, extend_settings,
extend_seed and extend_status, which wan_batch copies into its records. A row whose prompt cannot be made longer keeps it, and
extend_status says why. Rows that an earlier run extended stay as they are.

Rows that are done are kept in LONGER.csv.rows: the same command again continues. LONGER.csv appears when all rows are done.
Under srun each task takes its share of the rows. docs/prompts.md has examples.

Exit codes: 0 all prompts are longer, 2 usage or set-up (nothing was changed), 3 done, and some rows kept their prompt,
85 stopped by a signal (run again to continue), 1 anything else.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from hub_library import CacheError
from model_cache import cache_folder
from prompts import answers, manifest, model_folder, system_prompts, work
from prompts.generator import Generator, Sampling, choose_device
from prompts.journal import Done, Journal
from prompts.problems import UsageProblem

PROJECT = Path(__file__).resolve().parents[1]
DONE, FAILURE, USAGE, SOME_KEPT, STOPPED = 0, 1, 2, 3, 85
MOST_NEW_TOKENS = 512
MOST_ROW_SECONDS = 60.0
LIBRARIES = ("transformers", "tokenizers", "torch", "PIL")


class Stopped(BaseException):
    """A signal asked the program to end."""


def say(text: str) -> None:
    """A line for the person who watches."""
    print(text, file=sys.stderr, flush=True)


def whole_number(least: int, most: int) -> object:
    """A parser of whole numbers from `least` to `most`."""
    def parse(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} to {most}")
        return int(text)
    return parse


def seconds(text: str) -> float:
    """The seconds of a row."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= MOST_ROW_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0 and up to {MOST_ROW_SECONDS:g}")
    return value


def share(text: str) -> tuple[int, int]:
    """I/N, counted from 0."""
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a share; write I/N, for example 0/4 for the first of four")
    return int(index), int(count)


def share_of_step() -> tuple[int, int]:
    """Under srun the share of this task; else everything."""
    count, index = os.environ.get("SLURM_STEP_NUM_TASKS", ""), os.environ.get("SLURM_PROCID", "")
    return (int(index), int(count)) if count.isdecimal() and index.isdecimal() and int(index) < int(count) else (0, 1)


def parse_arguments(words: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="extend_prompts.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     allow_abbrev=False)
    add = parser.add_argument
    add("manifest", type=Path, metavar="MANIFEST", help="the manifest: CSV or JSON, as wan_batch takes it")
    add("-o", "--output", type=Path, required=True, metavar="LONGER.csv",
        help="the manifest to write, in the same folder if images are named relative to it; .jsonl for a JSON manifest, else CSV")
    add("--model", required=True, metavar="DIR_OR_NAME",
        help=f"a folder in the format of transformers, a name of the hub, or {', '.join(model_folder.SHORT_NAMES)}. Rows with images need "
             "a Qwen2-VL or Qwen2.5-VL model. A name is downloaded into the cache once")
    add("--target-lang", choices=tuple(system_prompts.LANGUAGES), default="zh", help="the language of the answers (default: zh)")
    add("--system-prompt", type=Path, metavar="FILE",
        help="what the model is told to do: a text file, or wan/utils/system_prompt.py of the official repository, which is read and not "
             "run (default: a short text of our own)")
    add("--seed", type=whole_number(0, 2**63 - 1), default=0, metavar="N", help="the same seed gives the same texts (default: 0)")
    add("--device", choices=("auto", "cuda", "cpu"), default="auto", help="where the model computes (default: auto, a GPU if there is one)")
    add("--tokenizer", type=Path, metavar="CKPT",
        help="the Wan checkpoint whose tokenizer measures the answers, or its tokenizer.json (default: WAN_CKPT_DIR, then a checkpoint "
             "that jobs/model_cache.py downloaded)")
    add("--max-new-tokens", type=whole_number(1, MOST_NEW_TOKENS), default=MOST_NEW_TOKENS, metavar="N",
        help=f"the model's tokens of an answer, at most {MOST_NEW_TOKENS} (default: {MOST_NEW_TOKENS})")
    add("--row-seconds", type=seconds, default=MOST_ROW_SECONDS, metavar="S",
        help=f"the time of a row, at most {MOST_ROW_SECONDS:g} s (default: {MOST_ROW_SECONDS:g})")
    add("--shard", type=share, metavar="I/N", help="only every N-th row, from row I, counted from 0 (default: under srun the share of "
                                                   "the task, else all rows)")
    add("--cache", type=Path, metavar="DIR", help="where named models are kept (default: WAN_MODEL_CACHE, then ~/.cache/wan_batch)")
    add("--wan-batch", type=Path, metavar="FILE", help="the program wan_batch (default: WAN_BATCH, build/bin/wan_batch, then PATH)")
    add("--dry-run", action="store_true", help="check everything, download the model if it is a name, and write nothing")
    return parser.parse_args(words)


def require_libraries() -> None:
    """Throws UsageProblem if the optional set of jobs/setup.sh is not there."""
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageProblem(f"not installed: {', '.join(missing)}; run jobs/setup.sh --with prompts and use .venv/bin/python")


def refuse_unseen_images(rows: manifest.Manifest, model: model_folder.ModelFolder) -> None:
    """Throws UsageProblem if a row has an image and the model cannot see it."""
    row = next((row for row in rows.rows if row.image is not None), None)
    if row is not None and not model.sees_images:
        raise UsageProblem(f"{rows.path}:{row.line}: the row has an image, and {model.name} is a text model ({model.model_type}); take a "
                           "vision model such as QwenVL2.5_7B")


class Run:
    """One start of the program."""

    def __init__(self, options: argparse.Namespace) -> None:
        """Checks everything that can be checked before a model is loaded. Throws UsageProblem."""
        self.options = options
        self.output = options.output.absolute()
        self.shard = options.shard or share_of_step()
        require_libraries()
        self.program = manifest.find_program(options.wan_batch, PROJECT)
        self.rows = manifest.read(self.program, options.manifest)
        manifest.check_output(self.rows, self.output)
        language = options.target_lang
        system = system_prompts.from_file(options.system_prompt, language) if options.system_prompt else system_prompts.own(language)
        cache = cache_folder(options.cache)
        tokenizer = answers.find_tokenizer(options.tokenizer, [cache])
        self.model = model_folder.inspect(*model_folder.find_folder(options.model, options.cache))
        refuse_unseen_images(self.rows, self.model)
        self.count_tokens = answers.TokenCounter(tokenizer)
        self.sampling = Sampling.of(self.model)
        self.system = system

    def prepare(self, notes: Path) -> None:
        """Finds out what each row needs."""
        options = self.options
        self.task = work.Task(self.model.name, model_folder.checksum(self.model, notes), self.sampling, options.max_new_tokens,
                              options.row_seconds, options.target_lang, self.system, options.seed)
        sums = work.ImageSums()
        self.items = [work.item_of(row, self.task, sums) for row in self.rows.rows]
        index, count = self.shard
        self.mine = [item for item in self.items if item.row.index % count == index]

    def dry_run(self) -> int:
        """Says what a run would do."""
        self.prepare(Path(os.devnull) / "none")
        to_do = work.open_items(self.mine, {})
        print(f"{len(self.rows.rows)} rows, {len(to_do)} different prompts to extend with {self.model.name}; nothing was written")
        return DONE

    def extend(self) -> int:
        """Extends the prompts and publishes the output if all rows are done."""
        journal = Journal(self.output)
        journal.require_ours()
        self.prepare(journal.folder / "checksums.json")
        to_do = work.open_items(self.mine, journal.read())
        if to_do:
            device = choose_device(self.options.device)
            say(f"loading {self.model.name} on {device} for {len(to_do)} of {len(self.rows.rows)} rows")
            generator = Generator(self.model, device, self.options.max_new_tokens)
            work.work_through(to_do, self.task, generator, self.count_tokens, journal, say)
        return self.publish(journal, journal.read())

    def publish(self, journal: Journal, done: dict[str, Done]) -> int:
        """Writes the output once every row is done."""
        waiting = sum(item.needs_model and item.key not in done for item in self.items)
        if waiting:
            say(f"the rows of share {self.shard[0]}/{self.shard[1]} are done, and {waiting} rows of other shares are not; the last share "
                f"writes {self.options.output}")
            return DONE
        cells = [work.cells_of(item, self.task, done.get(item.key)) for item in self.items]

        def check(temporary: Path) -> None:
            manifest.check_written(self.rows, cells, manifest.read(self.program, temporary))

        is_new = journal.publish(manifest.to_bytes(self.rows, cells, self.output), check)
        kept = [item for item in self.items if not item.is_extended_before and not (item.key in done and done[item.key].extended)]
        before = sum(item.is_extended_before for item in self.items)
        print(f"{self.options.output}: {len(self.items)} rows, {len(self.items) - len(kept) - before} extended"
              f"{f', {before} extended before' if before else ''}, {len(kept)} kept as they were"
              f"{' (see the column extend_status)' if kept else ''}{'' if is_new else '; it was complete already'}")
        return SOME_KEPT if kept else DONE


def stop(number: int, _frame: object) -> None:
    """Ends the program between two lines of the journal or within one: a line that is cut off does not count."""
    raise Stopped(signal.Signals(number).name)


def main(words: list[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    options = parse_arguments(words)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # the same sums in every run
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, stop)
    try:
        run = Run(options)
        return run.dry_run() if options.dry_run else run.extend()
    except (UsageProblem, CacheError) as problem:
        say(f"extend_prompts.py: error: {problem}")
        return USAGE
    except OSError as error:
        say(f"extend_prompts.py: error: {error.filename or options.output}: {error.strerror}; rows that are done are kept, run again to "
            "continue")
        return FAILURE
    except Stopped as signal_name:
        say(f"extend_prompts.py: stopped by {signal_name}; rows that are done are kept, run again to continue")
        return STOPPED


if __name__ == "__main__":
    sys.exit(main())
