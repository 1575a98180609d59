"""Start a program and its tests in two locked processes, and read the verdict of the second."""

from __future__ import annotations

import contextlib
import functools
import json
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

from multitask_bench.errors import ConfigError
from multitask_bench.sandbox.limits import Limits

_START = Path(__file__).with_name("_start.py")
_LOCKED = b"locked\n"
_MOST_REPORT = 10_000

Result = Literal["passed", "failed", "unfit"]


class Verdict(NamedTuple):
    """Of one program: ``passed`` all tests, ``failed`` one, or the tests are ``unfit`` for any program."""

    result: Result
    reason: str = ""


def run_tests(source: str, tests: Sequence[str], *, own: Sequence[str] = (), limits: Limits | None = None) -> Verdict:
    """Whether the Python program ``source`` passes ``tests``: statements that call what it defines.

    Built-in names and standard modules in the tests are Python's own, whatever the program calls so; names in ``own``
    are the program's.
    Both run locked, in different processes. The program never sees the tests, and no value that it sends can be
    more than plain data, so it passes only by returning what the tests want.
    Raises: ConfigError: this machine cannot lock a process.
    """
    limits = limits or Limits()
    ends = socket.socketpair()
    orders: list[tuple[str, dict[str, Any]]] = [
        ("program", {"source": source}),
        ("tests", {"tests": list(tests), "own": list(own)}),
    ]
    with contextlib.ExitStack() as stack:
        both = []
        for end, (part, order) in zip(ends, orders, strict=True):
            both.append(stack.enter_context(_started(part, order, end, limits)))
        for end in ends:
            end.close()
        deadline = time.monotonic() + limits.wall_s
        report, finished = _read(both[1].stdout, deadline)
        for process in both:
            process.kill()
        whys = [_why_not_locked(both[0], b""), _why_not_locked(both[1], report)]
    if any(why is not None for why in whys):
        # Of two that could not be locked one may have been ended before it could say so.
        raise ConfigError(_refusal(next(filter(None, whys), "it ended before it was locked")))
    if not finished:
        return Verdict("failed", f"not finished after {limits.wall_s:g} s")
    return _verdict(report.removeprefix(_LOCKED))


def _verdict(report: bytes) -> Verdict:
    try:
        result, reason = json.loads(report)
    except ValueError:
        # The tests' own process ended: a value from the program was too much for it.
        return Verdict("failed", "the tests ran out of time or memory")
    return Verdict(result, reason)


@functools.cache
def why_not() -> str | None:
    """Why this machine cannot lock a process, in one line that says what to do; None where it can."""
    try:
        found = run_tests("x = 1", ["assert x == 1"])
    except ConfigError as err:
        return str(err)
    return None if found.result == "passed" else _refusal(found.reason)


def _refusal(why: str) -> str:
    return (
        f"code is not run: this machine cannot isolate it ({why}). Run it on Linux 5.12 or newer where user "
        "namespaces and seccomp are allowed (in a container: --security-opt seccomp=unconfined), or leave pass@1 out."
    )


@contextlib.contextmanager
def _started(part: str, order: dict[str, Any], end: socket.socket, limits: Limits) -> Iterator[subprocess.Popen[bytes]]:
    """A locked process with its order; killed, with all that it started, when the block ends."""
    if sys.platform != "linux":
        raise ConfigError(_refusal(f"the platform is {sys.platform}"))
    whole = {"part": part, "channel": end.fileno(), "limits": limits._asdict(), **order}
    process = subprocess.Popen(  # noqa: S603  our own file, by our own interpreter
        [str(Path(sys.executable).resolve()), "-I", "-S", "-B", str(_START)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=[end.fileno()],
        env={},
        cwd="/",
        start_new_session=True,
    )
    try:
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(whole).encode())
            process.stdin.close()
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def _read(pipe: IO[bytes] | None, deadline: float) -> tuple[bytes, bool]:
    """What comes before ``deadline``, and whether the other side was done by then."""
    assert pipe is not None
    found = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while len(found) < _MOST_REPORT:
            left = deadline - time.monotonic()
            if left <= 0 or not selector.select(left):
                return found, False
            part = pipe.read1(_MOST_REPORT)  # type: ignore[attr-defined]
            if not part:
                break
            found += part
    return found, True


def _why_not_locked(process: subprocess.Popen[bytes], report: bytes) -> str | None:
    """What kept a process from being locked, empty where it did not say; None where it was locked.

    Only before it is locked can it write any of this.
    """
    assert process.stdout is not None
    assert process.stderr is not None
    if report.startswith(_LOCKED) or process.stdout.read().startswith(_LOCKED):
        return None
    return process.stderr.read().decode("utf-8", "replace").strip()
