"""The user's view of a running batch: a bar on the terminal, also through mpirun, and a log of every group."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import threading

from cli_case import CHECKPOINT, DONE, MPIEXEC, SMALL, SOME_FAILED, CliCase, environment

ROWS = ("id,image,prompt,sample_steps", "one,good.png,A white cat,300", "two,good.png,A dog,300")


class Progress(CliCase):
    def on_a_terminal(self, command: list[str], columns: int = 70, **variables: str) -> str:
        """The command's output to a terminal that is its standard error."""
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        pieces: list[bytes] = []

        def read() -> None:
            while True:
                try:
                    piece = os.read(master, 65536)
                except OSError:  # the last writer has closed it
                    return
                if not piece:
                    return
                pieces.append(piece)

        reader = threading.Thread(target=read)
        reader.start()
        process = subprocess.Popen(command, cwd=self.folder, env=environment() | {"TERM": "xterm"} | variables, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=slave)
        os.close(slave)
        self.assertEqual(process.wait(timeout=120), DONE)
        reader.join(timeout=60)
        os.close(master)
        return b"".join(pieces).decode(errors="replace")

    def batch(self, *arguments: str, ranks: int = 0) -> list[str]:
        return self.command("--ckpt-dir", CHECKPOINT, "--output-dir", self.out, *SMALL, self.manifest(*ROWS), *arguments, ranks=ranks)

    def test_under_mpirun_the_launchers_terminal_gets_the_bar(self):
        shown = self.on_a_terminal(self.batch(ranks=2), columns=60)
        bars = re.findall(r"\r(\[[#.]{20}\] [^\r\n]*?)\x1b\[K", shown)
        self.assertTrue(bars, shown)
        self.assertTrue(any("step" in bar for bar in bars), bars)
        self.assertLessEqual(max(map(len, bars)), 59)

    def test_a_wish_wins(self):
        self.assertNotIn("[#", self.on_a_terminal(self.batch("--progress", "off")))
        shown = self.on_a_terminal(self.batch("--no-resume", "--progress", "lines"))
        self.assertRegex(shown, r"(?m)^1/2 one\r?$")
        self.assertNotIn("\x1b", shown)

    def test_a_dumb_terminal_gets_no_escape_codes(self):
        for words, bar in (((), False), (("--progress", "bar"), True)):
            shown = self.on_a_terminal(self.batch("--no-resume", *words), TERM="dumb")
            self.assertNotIn("\x1b", shown)
            self.assertEqual("[....................]" in shown, bar, shown)

    def test_a_pipe_to_another_program_is_no_terminal(self):
        command = f"{MPIEXEC} -np 1 --oversubscribe sh -c 'exec \"$0\" \"$@\" 2>&1 | cat >&2' "
        shown = self.on_a_terminal(["sh", "-c", command + '"$0" "$@"', *self.batch()])
        self.assertNotIn("\x1b", shown)

    def test_the_log_holds_all_groups_in_utc(self):
        manifest = self.manifest("id,image,prompt,sample_steps", "a,good.png,A cat,40", "b,absent.png,A cat,2", "c,good.png,A dog,40",
                                 "d,absent.png,A dog,2", "e,absent.png,A dog,2", "f,absent.png,A dog,2")
        result = self.run_batch(manifest, "--group-size", "1", ranks=2)
        self.assertEqual(result.code, SOME_FAILED, result)
        lines = (self.out / "wan_batch.log").read_text(encoding="utf-8").splitlines()
        form = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \[rank ([01])\] (.*)$")
        found = [form.match(line) for line in lines]
        self.assertTrue(all(found), lines)
        told = {(match[1], match[2]) for match in found}
        self.assertEqual(len([text for _, text in told if "checkpoint loaded" in text]), 1)
        for name, groups in (("a", 1), ("b", 1), ("c", 1), ("f", 1)):
            by = {rank for rank, text in told if text.startswith(f"{name}: ") or text.startswith(f"{name} failed")}
            self.assertEqual(len(by), groups, (name, told))
        self.assertEqual({rank for rank, _ in told}, {"0", "1"})
