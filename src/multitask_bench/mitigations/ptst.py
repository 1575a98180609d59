"""Pure tuning, safe testing: Lyu et al. (2024), arXiv:2402.18540.

Tune without a safety prompt, test with one; the gap between the two prompts keeps what is learnt at tuning from
undoing what the prompt asks for. Nothing is trained anew: the arm shares the fine-tune of the plain one.
Departure: the prompt is our own short wording (`models.chat.SAFETY_SYSTEM`) where theirs are Llama-2's; give
``system`` for another. Task skill is measured under the same prompt, because that is how the model is served.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from typing_extensions import override

from multitask_bench.mitigations._spec import MitigationSpec, Prompts, mitigations


@mitigations.add
class Ptst(MitigationSpec):
    """Tunes without a system prompt and tests with the safety prompt."""

    name: ClassVar[str] = "ptst"
    system: Annotated[str, Field(min_length=1)] = "safety"
    """The system prompt at test: safety, or own text."""

    @override
    def on_prompt(self, prompts: Prompts) -> Prompts:
        return Prompts(train="none", test=(self.system,))
