"""Token counts without a network: Inspect's own need a vocabulary that it downloads on first use.

Providers that report no usage (mockllm among them) are counted with tiktoken's ``o200k_base``, and a
machine that cannot fetch it ends the whole evaluation with a ConnectionError. The count serves the
usage column of the log and nothing of ours, so an estimate will do.
"""

from __future__ import annotations

from collections.abc import Callable

from inspect_ai.model import _model

CHARACTERS_A_TOKEN = 4


def estimating(count: Callable[[str], int]) -> Callable[[str], int]:
    """``count``, or characters / 4 (at least 1) once it has failed for want of a network."""
    offline = False

    def tokens(text: str) -> int:
        nonlocal offline
        if not offline:
            try:
                return count(text)
            except OSError:  # what requests raises when it reaches no host
                offline = True
        return max(1, len(text) // CHARACTERS_A_TOKEN)

    return tokens


def count_without_network() -> None:
    """Let Inspect's estimate of tokens survive a machine without network."""
    _model.count_text_tokens = estimating(_model.count_text_tokens)  # type: ignore[assignment, attr-defined]
