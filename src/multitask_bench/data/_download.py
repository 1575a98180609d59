"""Fetching a pinned file of a public set."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

from multitask_bench.errors import DataError
from multitask_bench.records import write_bytes


def download(name: str, address: str, path: Path, *, instead: str) -> None:
    """Write what ``address`` holds to ``path``, whole or not at all.

    ``name`` is the set's, ``instead`` how to give a local copy, such as ``give --file PATH``.
    Raises: DataError: the address cannot be reached.
    """
    try:
        with urllib.request.urlopen(address, timeout=60) as answer:  # noqa: S310  pinned https addresses only
            raw = answer.read()
    except (urllib.error.URLError, TimeoutError, OSError) as err:
        raise DataError(
            f"{name}: {address} cannot be reached ({getattr(err, 'reason', err)}); download it elsewhere and {instead}."
        ) from err
    write_bytes(path, raw)
