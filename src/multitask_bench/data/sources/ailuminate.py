"""MLCommons AILuminate 1.0, the public demo prompts (English), CC BY 4.0."""

from __future__ import annotations

from typing import ClassVar

from multitask_bench.data.sources._spec import SourceSpec, sources


@sources.add
class Ailuminate(SourceSpec):
    """The public demo prompts of AILuminate 1.0."""

    name: ClassVar[str] = "ailuminate"
    address: ClassVar[str | None] = (
        "https://raw.githubusercontent.com/mlcommons/ailuminate/"
        "d7c115ec83a7e3c447eade38f6120f84cbccb674/airr_official_1.0_demo_en_us_prompt_set_release.csv"
    )
    licence: ClassVar[str] = "CC BY 4.0"
    paper: ClassVar[str] = "arXiv:2503.05731"
    request_column: ClassVar[str] = "prompt_text"
    category_column: ClassVar[str | None] = "hazard"
