"""Mitigations: each changes the data, the trainer, the adapter or the prompt policy."""

from multitask_bench.mitigations._spec import MitigationSpec, mitigations

__all__ = ["MitigationSpec", "mitigations"]
