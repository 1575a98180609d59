"""A guard of a user's own, as the file that holds it."""

from __future__ import annotations


def own_guard(screen: str, *fields: str, name: str = "mine") -> str:
    """The text of a file with one guard; ``screen`` is what its method returns for ``items``."""
    lines = [
        "from typing import ClassVar",
        "from multitask_bench.guards import GuardSpec, Verdict, guards",
        "from multitask_bench.guards._spec import on_sides",
        "@guards.add",
        f"class {name.title()}(GuardSpec):",
        f"    name: ClassVar[str] = '{name}'",
        "    version: ClassVar[int] = 1",
        *(f"    {field}" for field in fields),
        "    def screen(self, items):",
        f"        return {screen}",
    ]
    return "\n".join(lines) + "\n"
