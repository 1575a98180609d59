"""What a program may use."""

from __future__ import annotations

from typing import NamedTuple


class Limits(NamedTuple):
    """Of one program; its tests, which run beside it, have the same."""

    cpu_s: int = 5
    """Seconds of CPU time, after which the kernel ends it."""
    wall_s: float = 20.0
    """Seconds until both are ended, whatever they do."""
    memory_bytes: int = 512 << 20
    """Address space."""
    disk_bytes: int = 8 << 20
    """All files together, and the largest one; they are gone afterwards."""
    open_files: int = 64
    threads: int = 32
    """Threads; a second process cannot be started at all."""
    message_bytes: int = 1 << 20
    """The largest value that a call may return."""
