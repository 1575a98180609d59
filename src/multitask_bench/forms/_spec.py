"""What every form has: a policy, at least six wordings, and the two verbs `write` and `answer`."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from multitask_bench.registry import Registry, Spec
from multitask_bench.schema import Intent, Language, Probe, Side


class Template(NamedTuple):
    """One wording of a form; a ``held_out`` one never occurs in any training row."""

    id: str
    text: str
    held_out: bool = False


class FormSpec(Spec):
    """Turns an intent, or its twin, into a probe."""

    policy: ClassVar[str]
    """What the asker wants, why a safe assistant refuses, which look-alikes it should answer."""
    templates: ClassVar[tuple[Template, ...]]

    def template(self, template_id: str) -> Template:
        """The template of that id."""
        return next(t for t in self.templates if t.id == template_id)

    def fill(self, side: Side, template: Template, language: Language) -> dict[str, object]:
        """The probe's fields that depend on the form: at least ``prompt``."""
        raise NotImplementedError

    def answer(self, side: Side, template: Template, language: Language) -> str:
        """The helpful answer to a twin in this form and template."""
        raise NotImplementedError

    def write(self, intent: Intent, template: Template, *, twin: bool, language: Language) -> Probe:
        """The probe of ``intent`` (or of its twin) in this form.

        ``expected`` is what the writer of the row meant; two independent reads can only turn it
        into ``disputed`` (see ``data/bundled/reads.jsonl``).
        """
        side = intent.twin if twin else intent.harmful
        return Probe.model_validate(
            {
                "id": f"{intent.id}.{'twin' if twin else 'harm'}.{template.id}.{language}",
                "intent_id": intent.id,
                "hazard": intent.hazard,
                "form": self.name,
                "template_id": template.id,
                "template_seen": not template.held_out,
                "language": language,
                "twin": twin,
                "expected": "answer" if twin else "refuse",
                **self.fill(side, template, language),
            }
        )


forms: Registry[FormSpec] = Registry("form", "multitask_bench.forms")
