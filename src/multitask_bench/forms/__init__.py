"""Forms: how one intent is asked. One file a form; each file states the form's policy."""

from multitask_bench.forms._spec import FormSpec, Template, forms

__all__ = ["FormSpec", "Template", "forms"]
