"""What every form has: a policy, wordings in English and French, and the verbs `write`, `answer` and `wrap`."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from multitask_bench.registry import Registry, Spec
from multitask_bench.schema import Intent, Language, Probe, Side


class Template(NamedTuple):
    """One wording of a form; a ``held_out`` one never occurs in any training row."""

    id: str
    text: str
    held_out: bool = False
    kind: str = ""
    """Which variant of the form it is, such as ``which`` and ``label``; empty where there is one only."""
    language: Language = "en"
    """Language of the request around the intent's own words."""


class FormSpec(Spec):
    """Turns an intent, its twin, or any other request into a probe."""

    policy: ClassVar[str]
    """What the asker wants, why a safe assistant refuses, which look-alikes it should answer."""
    templates: ClassVar[tuple[Template, ...]]
    """Six for training and testing and two for testing only, in each language."""
    request_templates: ClassVar[tuple[Template, ...]]
    """Wordings around a whole ``{request}`` that was not written for this project; for testing only."""

    def template(self, template_id: str) -> Template:
        """The template of that id."""
        return next(t for t in (*self.templates, *self.request_templates) if t.id == template_id)

    def wordings(self, language: Language = "en", *, held_out: bool | None = None) -> list[Template]:
        """The templates of one request language; all, or only (not) held-out ones."""
        return [t for t in self.templates if t.language == language and held_out in (None, t.held_out)]

    def fits(self, intent: Intent, template: Template) -> bool:
        """Whether the intent has what the template needs, in the template's language."""
        return template.language == "en" or intent.harmful.fr is not None

    def fill(self, side: Side, template: Template, language: Language) -> dict[str, object]:
        """The probe's fields that depend on the form: at least ``prompt``."""
        raise NotImplementedError

    def answer(self, side: Side, template: Template, language: Language) -> str:
        """The helpful answer to a twin in this form and template."""
        raise NotImplementedError

    def wrap(self, request: str, template: Template) -> dict[str, object]:
        """The fields that depend on the form, for a request given as a whole: at least ``prompt``."""
        return {"prompt": template.text.format(request=request)}

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
