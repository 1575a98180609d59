"""The tests' side: statements run here, against a program that runs in another locked process.

The program sees the arguments of its calls and nothing else: not the tests, not what they expect, not this process.
What it returns is rebuilt here as plain data, so an object that claims to equal everything equals nothing.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import socket
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from multitask_bench.sandbox._wire import NotPlainError, pack, receive, send, unpack

PASSED, FAILED, UNFIT = "passed", "failed", "unfit"
"""``unfit``: the test itself cannot be run here, whatever the program is."""


def judge(tests: Sequence[str], own: Sequence[str], channel: socket.socket, *, most: int) -> tuple[str, str]:
    """Run every test in one name space, in order; ``own`` are names of Python's that mean the program's.

    Returns: ``passed``, or ``failed`` or ``unfit`` with the reason of the first that did not pass.
    """
    link = Link(channel, most)
    scope: dict[str, Any] = {"__name__": "tests"}
    try:
        ready = [compile(test, "test", "exec") for test in tests]
    except (SyntaxError, ValueError) as err:
        channel.recv(1)  # ended before it is locked, the program would look like one that cannot be
        return UNFIT, f"the test is not Python: {err}"
    try:
        link.answer()  # the program's own run
        for test, code in zip(tests, ready, strict=True):
            link.fill(scope, test, own)
            exec(code, scope)  # noqa: S102
    except EOFError:
        return FAILED, "the program ended"
    except NotPlainError as err:
        return UNFIT, str(err)
    except AssertionError:
        return FAILED, "a test failed"
    except BaseException as err:  # noqa: BLE001  raised by the program, or by what it returned
        return FAILED, f"{type(err).__name__}: {err}"[:300]
    return PASSED, ""


class ProgramError(Exception):
    """What the program raised, where it is no built-in exception."""


class Link:
    """Requests to the program, one at a time."""

    def __init__(self, channel: socket.socket, most: int) -> None:
        self._channel, self._most = channel, most

    def ask(self, verb: str, *operands: Any) -> Any:
        """The program's answer to one request. Raises: what the program raised; EOFError: it has ended."""
        send(self._channel, [verb, *(pack(operand, _number) for operand in operands)], most=self._most)
        return self.answer(operands[1] if verb == "call" else ())

    def named(self, name: str) -> tuple[str, Any]:
        """What the program calls by this name: ("absent" | "module" | "value", what it is)."""
        send(self._channel, ["name", name], most=self._most)
        kind, value = self.answer()
        return str(kind), value

    def answer(self, places: Sequence[Any] = ()) -> Any:
        """The next answer; lists, dicts and sets among ``places`` that the call changed are changed here too."""
        kind, *rest = receive(self._channel, most=self._most)
        if kind == "raised":
            raise self._exception(*rest)
        found, changed = rest
        for i, data in changed:
            _become(places[i], self._value(data))
        return self._value(found)

    def _value(self, data: Any) -> Any:
        return unpack(data, lambda number: Remote(self, number))

    def _exception(self, kinds: Sequence[str], text: str) -> BaseException:
        known = [getattr(builtins, name, None) for name in kinds]
        kind = next((found for found in known if isinstance(found, type)), ProgramError)
        try:
            made = kind(text)
        except TypeError:  # UnicodeDecodeError and its like want more arguments
            made = None
        return made if isinstance(made, BaseException) else ProgramError(text)

    def fill(self, scope: dict[str, Any], test: str, own: Sequence[str]) -> None:
        """Put the program's names that ``test`` uses into ``scope``; Python's names stay its own, but for ``own``."""
        used = {node.id for node in ast.walk(ast.parse(test)) if isinstance(node, ast.Name)}
        for name in sorted(used - scope.keys()):
            if hasattr(builtins, name) and name not in own:
                continue
            kind, value = self.named(name)
            if kind == "module" and str(value).partition(".")[0] in sys.stdlib_module_names:
                scope[name] = importlib.import_module(str(value))
            elif kind == "value":
                # Under a module's name an object of the program's would say for itself that it is what is wanted.
                posing = isinstance(value, Remote) and name in sys.stdlib_module_names and name not in own
                scope[name] = importlib.import_module(name) if posing else value


def _number(value: Any) -> int:
    if isinstance(value, Remote):
        return int(object.__getattribute__(value, "_number"))
    raise NotPlainError(f"the test hands a {type(value).__name__} to the program; only plain data can be handed over")


def _become(place: Any, value: Any) -> None:
    """Make a list, dict, set or bytearray equal to ``value``, in place."""
    if isinstance(place, list | bytearray) and isinstance(value, type(place)):
        place[:] = value
    elif isinstance(place, dict | set) and isinstance(value, type(place)):
        place.clear()
        place.update(value)


class Remote:
    """An object that stays with the program: a function, a class, an instance of one."""

    def __init__(self, link: Link, number: int) -> None:
        object.__setattr__(self, "_link", link)
        object.__setattr__(self, "_number", number)

    def _ask(self, verb: str, *operands: Any) -> Any:
        return object.__getattribute__(self, "_link").ask(verb, self, *operands)

    def __call__(self, *places: Any, **names: Any) -> Any:
        return object.__getattribute__(self, "_link").ask("call", self, list(places), names)

    def __getattr__(self, name: str) -> Any:
        return self._ask("get", name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._ask("set", name, value)

    def __getitem__(self, key: Any) -> Any:
        return self._ask("item", key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._ask("put", key, value)

    def __contains__(self, item: Any) -> bool:
        return self._ask("has", item) is True

    def __iter__(self) -> Iterator[Any]:
        return iter(self._ask("items"))

    def __len__(self) -> int:
        return int(self._ask("length"))

    def __bool__(self) -> bool:
        return self._ask("truth") is True

    def __str__(self) -> str:
        return str(self._ask("text"))

    def __repr__(self) -> str:
        return str(self._ask("repr"))

    def __hash__(self) -> int:
        return hash(_number(self))

    def __eq__(self, other: object) -> bool:
        # Against plain data never: the class would decide for itself whether it is what was wanted.
        return isinstance(other, Remote) and self._ask("equal", other) is True

    def __lt__(self, other: Any) -> bool:
        return self._ask("less", other) is True
