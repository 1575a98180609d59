"""The program's side: run it, then do what its tests ask, one request at a time.

Nothing here is trusted by the other side: the program can change every function of this process, and the worst that
it reaches is a wrong value.
"""

from __future__ import annotations

import itertools
import socket
import sys
import types
from collections.abc import Callable
from typing import Any

from multitask_bench.sandbox._wire import TooLargeError, pack, receive, same, send, unpack

NAME = "program"
"""Not ``__main__``: what stands under ``if __name__ == "__main__"`` is a demonstration, and may wait for input."""
MOST_ITEMS = 100_000


def serve(source: str, channel: socket.socket, *, most: int) -> None:
    """Run ``source`` and answer requests until the other side goes."""
    module = types.ModuleType(NAME)
    sys.modules[NAME] = module
    side = _Side(module.__dict__)
    _reply(channel, side, lambda: exec(compile(source, NAME, "exec"), module.__dict__), most=most)  # noqa: S102
    while True:
        try:
            verb, *rest = receive(channel, most=most)
        except EOFError:
            return
        _reply(channel, side, lambda verb=verb, rest=rest: side.do(verb, rest), most=most)  # type: ignore[misc]


def _reply(channel: socket.socket, side: _Side, act: Callable[[], Any], *, most: int) -> None:
    try:
        side.changed = []
        found = act()
        answer = ["value", pack(found, side.number), [[i, pack(v, side.number)] for i, v in side.changed]]
        send(channel, answer, most=most)
    except TooLargeError as err:
        send(channel, ["raised", ["Exception"], str(err)], most=most)
    except BaseException as err:  # noqa: BLE001  whatever the program raises is for its tests to judge
        kinds = [kind.__name__ for kind in type(err).__mro__ if kind.__module__ == "builtins"]
        send(channel, ["raised", kinds, str(err)[:300]], most=most)


class _Side:
    """The program's names, and its objects by number."""

    def __init__(self, names: dict[str, Any]) -> None:
        self.names = names
        self.objects: list[Any] = []
        self.changed: list[tuple[int, Any]] = []

    def number(self, value: Any) -> int:
        for number, known in enumerate(self.objects):
            if known is value:
                return number
        self.objects.append(value)
        return len(self.objects) - 1

    def value(self, data: Any) -> Any:
        return unpack(data, self.objects.__getitem__)

    def do(self, verb: str, rest: list[Any]) -> Any:
        """One request: a name, or something done with an object."""
        if verb == "name":
            return self._named(rest[0])
        subject, *operands = [self.value(data) for data in rest]
        if verb == "call":
            return self._called(subject, *operands)
        if verb == "items":
            return list(itertools.islice(subject, MOST_ITEMS))
        return _VERBS[verb](subject, *operands)

    def _named(self, name: str) -> Any:
        """What kind of thing the program calls so; its value where it is data."""
        if name not in self.names:
            return ["absent", None]
        value = self.names[name]
        return ["module", value.__name__] if isinstance(value, types.ModuleType) else ["value", value]

    def _called(self, function: Any, places: list[Any], names: dict[str, Any]) -> Any:
        # A function may work by changing its arguments: those that it changed go back too.
        before = [unpack(pack(place, self.number), self.objects.__getitem__) for place in places]
        found = function(*places, **names)
        for i, (old, new) in enumerate(zip(before, places, strict=True)):
            if isinstance(new, list | dict | set | bytearray) and not same(old, new):
                self.changed.append((i, new))
        return found


_VERBS: dict[str, Callable[..., Any]] = {
    "get": getattr,
    "set": setattr,
    "item": lambda subject, key: subject[key],
    "put": lambda subject, key, value: subject.__setitem__(key, value),
    "has": lambda subject, item: item in subject,
    "length": len,
    "truth": bool,
    "text": str,
    "repr": repr,
    "equal": lambda subject, other: bool(subject == other),
    "less": lambda subject, other: bool(subject < other),
    "class": lambda subject: type(subject).__name__,
}
