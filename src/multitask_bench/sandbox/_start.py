"""What runs in the new process: read the order from standard input, lock, say so, then take the part it names.

Called by path, with ``python -I -S -B``; nothing of this project or machine is visible once it is locked.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

SOURCE = str(Path(__file__).resolve().parents[2])
sys.path.insert(0, SOURCE)

from multitask_bench.sandbox import _confine, _program, _tests  # noqa: E402
from multitask_bench.sandbox.limits import Limits  # noqa: E402

LOCKED = b"locked\n"


def main() -> None:
    """Standard output carries ``locked`` and, of the tests, their verdict; standard error why it could not lock."""
    order: dict[str, Any] = json.loads(sys.stdin.buffer.read())
    limits = Limits(**order["limits"])
    channel = socket.socket(fileno=int(order["channel"]))
    try:
        _confine.enter(limits)
    except _confine.CannotIsolateError as err:
        os.write(2, str(err).encode())
        os._exit(1)
    except OSError as err:
        os.write(2, f"{err.strerror} ({err.filename})".encode())
        os._exit(1)
    os.write(1, LOCKED)
    sys.path.remove(SOURCE)
    for name in [name for name in sys.modules if name.startswith("multitask_bench")]:
        del sys.modules[name]
    report = os.dup(1)
    nothing = os.open("/dev/null", os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    os.close(nothing)
    if order["part"] == "program":
        os.close(report)
        _program.serve(order["source"], channel, most=limits.message_bytes)
    else:
        verdict = _tests.judge(order["tests"], order["own"], channel, most=limits.message_bytes)
        os.write(report, json.dumps(verdict).encode())
    os._exit(0)


main()
