"""What an answer's own voice is: unwrapped from boxes, tags and reasoning, without code and quotations."""

from __future__ import annotations

import html
import json
import re

from multitask_bench.judges._language import language, straight

LONGEST = 20_000
"""Characters of an answer, and of a prompt, that are read."""
_TAG = re.compile(r"</?[a-zA-Z][a-zA-Z0-9]*(?: [^<>\n]{0,80})?/?>")
_FENCE = re.compile(r"```[^\n`]*\n?(.*?)(?:```|\Z)", re.S)
# The quotation mark after "right" closes: what follows it is the answer's own voice.
_QUOTED = re.compile(r'(?<![\w.,!?…])"[^"\n]{12,}"|(?<![\w.,!?…])"[^"\n]{12,}$', re.M)
_CODE_LINE = re.compile(
    r"^\s*(?:pass$|raise\b|\"\"\"(?!.*\"\"\" \w)|throw |def |class |import |from \w+ import|return\b|for .+:|while .+:|if .+:|elif .+:|else:|try:|except|with .+:|print\(|#(?!#)|@\w|"
    r"[\w.\[\]\"']+ ?[-+*/|]?= ?\S|[\w.]+\(.*\)?;?$|[{}()\[\];]+$|function |const |let |var |SELECT |<\/?\w+)"
)
_JSON_FENCE = re.compile(r"```(?:json)?\s*(\{.*\})\s*```", re.S)
_REASONING = re.compile(r"\A\s*<(think|thinking|thought|reasoning|analysis|scratchpad)>.*?</\1>", re.S | re.I)
_SAYS = r"(?:print(?:ln|f)?|console\.\w+|alert|echo|puts|System\.out\.print(?:ln)?|fmt\.Print(?:ln|f)?|std::cout|throw|raise|sys\.exit|Write-Host)"
_NOTHING = re.compile(
    rf"(?:pass|return(?: None| null)?;?|\.\.\.|[{{}}();]+|{_SAYS}\b.*|def .*:|class .*:|(?:async )?function .*|exit\b.*)?$"
)
_SAID = re.compile(rf"{_SAYS}[^\"'\n]{{0,40}}([\"'`])(.+?)\1\s*\)?", re.M)
_DOCSTRING = re.compile(r"\"\"\"(.*?)(?:\"\"\"|\Z)|'''(.*?)(?:'''|\Z)|/\*(.*?)(?:\*/|\Z)", re.S)


def code_in(text: str) -> str:
    """What stands inside code fences; empty where there is none, or only sentences."""
    return "\n".join(block for block in _FENCE.findall(text) if block.strip() and not _is_speech(block))


def _is_speech(block: str) -> bool:
    """Whether a fence holds sentences and not one line of code: a reply set in a box."""
    lines = [line for line in block.splitlines() if line.strip()]
    return not any(_CODE_LINE.match(line) for line in lines) and language(block).name is not None


def _strings(held: object) -> list[str]:
    """All texts in a JSON value, in order."""
    if isinstance(held, str):
        return [held]
    inside = held.values() if isinstance(held, dict) else held if isinstance(held, list) else ()
    return [text for value in inside for text in _strings(value)]


def without_reasoning(text: str) -> str:
    """The text after a closed block of reasoning, which is not the answer; all of it where nothing follows."""
    after = _REASONING.sub("", text, count=1)
    return after if after.strip() else text


def unpacked(text: str) -> str:
    """The texts inside a JSON object, one a line, or the text itself where it is none."""
    boxed = _JSON_FENCE.fullmatch(text.strip())
    inner = boxed.group(1) if boxed else text
    if not inner.lstrip().startswith("{"):
        return text
    try:
        held = json.loads(inner)
    except (ValueError, RecursionError):
        return text
    return "\n".join(_strings(held)) or text


def unboxed(text: str) -> str:
    """The text without what wraps it: a JSON object, tags, entities, a fence around speech."""
    text = unpacked(text)
    if not code_in(text):
        text = html.unescape(_TAG.sub(" ", text))
    return _FENCE.sub(lambda found: found.group(1) if _is_speech(found.group(1)) else found.group(), text)


def prose(text: str) -> str:
    """The answer's own voice: no code, no quotations, but a wholly quoted answer unwrapped."""
    text = re.sub(r'"{2,}', '"', straight(_FENCE.sub("\n", text[:LONGEST])))
    if len(text) > 2 and text[0] == '"' and text.count('"') <= 2 and text.rstrip(".")[-1] in '"' + text[-1]:
        text = text.strip('".')
    return _QUOTED.sub('"…"', text)


def hollow(code: str) -> bool:
    """Whether code does nothing but say something: comments, prints, pass, raise."""
    code = _DOCSTRING.sub("pass", code)
    lines = [re.sub(r"(?:#|//|--|<!--).*", "", line).strip() for line in code.splitlines()]
    return all(_NOTHING.match(line) for line in lines)


def looks_like_code(text: str) -> bool:
    """Whether the text is fenced code, or at least half of its lines are code."""
    if code_in(text):
        return True
    lines = [line for line in text.splitlines() if line.strip()]
    return bool(lines) and sum(bool(_CODE_LINE.match(line)) for line in lines) >= 0.5 * len(lines)


def voice_of_code(text: str) -> str:
    """The words that hollow code says (comments, printed text), or an empty string."""
    code = code_in(text)
    if not code or not hollow(code):
        return ""
    said = re.findall(r"(?:#|//|--|<!--)\s*(.+)", code) + [found[1] for found in _SAID.findall(code)]
    said += [piece for found in _DOCSTRING.findall(code) for piece in found if piece]
    return "\n".join(line.removesuffix("-->").strip() for line in said)
