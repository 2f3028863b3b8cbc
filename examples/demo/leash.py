"""Runs a command that cannot outlive its starter: `python leash.py COMMAND …`, stdin a pipe.

The starter's end of the pipe closes when the starter ends, however it ends, and the command is then asked to end.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

_PATIENCE_S = 15.0


def main(command: list[str]) -> int:
    # Only the pipe counts: a signal to the whole process group must not end the leash before the command.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as running:
        threading.Thread(target=_end_with_starter, args=(running,), daemon=True).start()
        return running.wait()


def _end_with_starter(running: subprocess.Popen[bytes]) -> None:
    os.read(sys.stdin.fileno(), 1)
    running.terminate()
    try:
        running.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        running.kill()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
