"""StrongREJECT (Souly et al. 2024), arXiv:2402.10260; parts come from other sets whose licences are not all clear."""

from __future__ import annotations

from typing import ClassVar

from multitask_bench.data.sources._spec import SourceSpec, sources


@sources.add
class StrongReject(SourceSpec):
    """313 forbidden prompts in six categories."""

    name: ClassVar[str] = "strongreject"
    address: ClassVar[str | None] = (
        "https://raw.githubusercontent.com/alexandrasouly/strongreject/"
        "3432b2d696b428f242bd507df96d80f686571d5e/strongreject_dataset/strongreject_dataset.csv"
    )
    sha256: ClassVar[str | None] = "4dd70357e4ff8b5d0ba5ebafecab5d6dd5633ce8046e3dd1c8bd93e64de44381"
    licence: ClassVar[str] = "MIT; see its README for the parts taken from elsewhere"
    paper: ClassVar[str] = "arXiv:2402.10260"
    request_column: ClassVar[str] = "forbidden_prompt"
    category_column: ClassVar[str | None] = "category"
