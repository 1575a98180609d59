"""Public lists of harmful requests, one file each: where they are, their licence, and how a row reads."""

from multitask_bench.data.sources._spec import (
    Listed,
    SourceRow,
    SourceSpec,
    list_texts,
    read_list,
    sexual_harm_to_minors,
    sources,
)

__all__ = ["Listed", "SourceRow", "SourceSpec", "list_texts", "read_list", "sexual_harm_to_minors", "sources"]
