"""Values and messages between a program and its tests: plain data by value, everything else by number.

JSON and not pickle or marshal: what the program sends may be made to harm the reader. A value that arrives was
built by the reader from text, so that no method of the program's own classes takes part in a comparison.
"""

from __future__ import annotations

import builtins
import json
import math
import socket
import struct
from collections import deque
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

_LENGTH = struct.Struct(">I")
_PLAIN_INT = 1 << 53


class TooLargeError(Exception):
    """A message is longer than allowed."""


class NotPlainError(Exception):
    """A value that is not plain data and cannot be named by number either."""


def send(channel: socket.socket, message: Any, *, most: int) -> None:
    """Send one message. Raises: TooLargeError: it has more than ``most`` bytes."""
    raw = json.dumps(message).encode("ascii")
    if len(raw) > most:
        raise TooLargeError(f"a value of {len(raw)} bytes; {most} are allowed")
    channel.sendall(_LENGTH.pack(len(raw)) + raw)


def receive(channel: socket.socket, *, most: int) -> Any:
    """The next message. Raises: EOFError: the other side has ended; TooLargeError: more than ``most`` bytes."""
    (size,) = _LENGTH.unpack(_exactly(channel, _LENGTH.size))
    if size > most:
        raise TooLargeError(f"a value of {size} bytes; {most} are allowed")
    return json.loads(_exactly(channel, size))


def _exactly(channel: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = channel.recv(min(size - len(parts), 1 << 16))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)


# Subclasses (Counter, named tuples, string enums) become the plain type that they extend, in this order.
_SEQUENCES: tuple[tuple[str, type, Callable[[Any], Any]], ...] = (
    ("list", list, list.__iter__),
    ("tuple", tuple, tuple.__iter__),
    ("set", set, set.__iter__),
    ("frozenset", frozenset, frozenset.__iter__),
    ("deque", deque, deque.__iter__),
)


def pack(value: Any, named: Callable[[Any], int]) -> Any:
    """``value`` as JSON data; ``named`` gives the number of what is not plain data, or raises NotPlainError."""
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        number = int.__int__(value)
        return number if abs(number) < _PLAIN_INT else ["int", hex(number)]
    if isinstance(value, float):
        return float.__float__(value)
    for tag, kind, items in _SEQUENCES:
        if isinstance(value, kind):
            return [tag, [pack(item, named) for item in items(value)]]
    if isinstance(value, dict):
        return ["dict", [[pack(key, named), pack(item, named)] for key, item in dict.items(value)]]
    return _pack_rare(value, named)


def _pack_rare(value: Any, named: Callable[[Any], int]) -> Any:
    if isinstance(value, datetime | date | time) and getattr(value, "tzinfo", None) is None:
        return [next(tag for tag, kind in _CLOCK if isinstance(value, kind)), value.isoformat()]
    if isinstance(value, type):
        name = str(value.__name__)
        return ["type", name] if getattr(builtins, name, None) is value else ["object", named(value)]
    for tag, kind, data in _PARTS:
        if isinstance(value, kind):
            return [tag, data(value)]
    return ["object", named(value)]


_CLOCK: tuple[tuple[str, type], ...] = (("datetime", datetime), ("date", date), ("time", time))
_PARTS: tuple[tuple[str, type, Callable[[Any], Any]], ...] = (
    ("bytes", bytes, bytes.hex),
    ("bytearray", bytearray, bytearray.hex),
    ("complex", complex, lambda value: [value.real, value.imag]),
    ("decimal", Decimal, str),
    ("fraction", Fraction, lambda value: [hex(value.numerator), hex(value.denominator)]),
    ("range", range, lambda value: [value.start, value.stop, value.step]),
    ("timedelta", timedelta, lambda value: [value.days, value.seconds, value.microseconds]),
)


def unpack(data: Any, known: Callable[[int], Any]) -> Any:
    """The value in JSON data; ``known`` gives what stands for a number.

    Raises: ValueError: not what `pack` writes.
    """
    if data is None or isinstance(data, bool | int | float | str):
        return data
    if not (isinstance(data, list) and len(data) == 2 and isinstance(data[0], str)):
        raise ValueError("not a value")
    tag, inner = data
    if tag == "object":
        return known(int(inner))
    if tag == "dict":
        return {unpack(key, known): unpack(item, known) for key, item in inner}
    for name, kind, _ in _SEQUENCES:
        if tag == name:
            return kind(unpack(item, known) for item in inner)
    make = _RARE.get(tag)
    if make is None:
        raise ValueError(f"no kind of value is called {tag!r}")
    return make(inner)


_RARE: dict[str, Callable[[Any], Any]] = {
    "int": lambda inner: int(inner, 16),
    "bytes": bytes.fromhex,
    "bytearray": bytearray.fromhex,
    "complex": lambda inner: complex(*inner),
    "decimal": Decimal,
    "fraction": lambda inner: Fraction(int(inner[0], 16), int(inner[1], 16)),
    "range": lambda inner: range(*inner),
    "timedelta": lambda inner: timedelta(*inner),
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "type": lambda inner: _builtin_type(inner),
}


def _builtin_type(name: str) -> type:
    found = getattr(builtins, name, None)
    if not isinstance(found, type):
        raise TypeError(f"no built-in type is called {name!r}")
    return found


def same(first: Any, second: Any) -> bool:
    """Whether two plain values are equal, NaN and NaN too: whether a call changed its argument."""
    if isinstance(first, float) and isinstance(second, float):
        return first == second or (math.isnan(first) and math.isnan(second))
    return bool(first == second)
