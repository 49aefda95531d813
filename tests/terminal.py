"""Runs a command in a pseudo-terminal, as a person would see it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import threading
from collections.abc import Sequence
from pathlib import Path

from tests.project import environment

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COLOR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])(?:;\d+)*m")


class Terminal:
    """A command in a terminal that is `width` characters wide; `output` is what it has written so far."""

    def __init__(self, command: Sequence[str], cwd: Path, width: int = 100, **variables: str) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
        env = {"TERM": "xterm-256color", **environment(**variables)}
        for name in {"CI", "NO_COLOR", "COLUMNS", "FORCE_COLOR"} - set(variables):
            env.pop(name, None)
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            env=env,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - so that Ctrl-C is a signal
        )
        os.close(slave)
        self.output = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def press(self, key: bytes) -> None:
        os.write(self._master, key)

    def wait(self, seconds: float = 60) -> int:
        code = self.process.wait(seconds)
        self._reader.join(10)
        return code

    def frames(self) -> list[str]:
        """Returns every state of every line, without control codes."""
        return [CONTROL.sub("", frame) for frame in re.split(r"[\r\n]+", self.output)]

    def lines(self) -> list[str]:
        """Returns the lines that stay: the last state of each, without the live line."""
        kept: list[str] = []
        for line in self.output.replace("\r\n", "\n").split("\n"):
            text = CONTROL.sub("", line.rpartition("\x1b[2K")[2].rpartition("\r")[2]).rstrip()
            kept += [text] if text else []
        return kept

    def _read(self) -> None:
        while True:
            try:
                chunk = os.read(self._master, 65536)
            except OSError:  # the other side is closed
                break
            if not chunk:
                break
            self.output += chunk.decode(errors="replace")
