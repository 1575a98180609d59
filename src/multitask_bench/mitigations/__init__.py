"""Mitigations: each changes the data, the trainer, the adapter or the prompt policy."""

from multitask_bench.mitigations._spec import HOOKS, Hook, MitigationSpec, Prompts, mitigations

__all__ = ["HOOKS", "Hook", "MitigationSpec", "Prompts", "mitigations"]
