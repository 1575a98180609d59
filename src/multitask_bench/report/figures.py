"""Figures as inline SVG: rates with intervals, and ledger bars. Sizes are in CSS pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from multitask_bench.report._groups import Spread
from multitask_bench.report._select import in_lines
from multitask_bench.schema import Rate

OUTCOMES = ("complied", "partial", "off_task", "incoherent", "refused", "judge_refused", "unscored")
ROW, LEFT, WIDTH = 26, 158, 360
PLOT = WIDTH - LEFT - 14
"""Width of the axis."""
NAME_LETTERS = 22
"""What fits on a line to the left of a plot; a longer name stands on two, set narrower where they must be longer."""
NAME_WIDTH = LEFT - 14


def dots(title: str, rows: Sequence[tuple[str, str, Rate]]) -> str:
    """One small plot: an arm a line, its rate as a dot and its 95 % interval as a bar, 0 to 100 %."""
    parts = _opened("dots", title, len(rows))
    for i, (name, stage, rate) in enumerate(rows):
        y = 18 + ROW * i
        parts.append(_name(name, y + 4))
        if rate.value is None or rate.low is None or rate.high is None:
            parts.append(_not_measured(y))
            continue
        low, at, high = (LEFT + PLOT * v for v in (rate.low, rate.value, rate.high))
        parts.append(f'<line class="ci {escape(stage)}" x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}"/>')
        parts.append(f'<circle class="dot {escape(stage)}" cx="{at:.1f}" cy="{y}" r="5"/>')
    return "".join([*parts, "</svg>"])


def strips(title: str, rows: Sequence[tuple[str, str, Spread]]) -> str:
    """A group a line: each seed a small dot, the mean a bar with its interval; one arm as in ``dots``."""
    parts = _opened("strips", title, len(rows))
    for i, (name, stage, spread) in enumerate(rows):
        y = 18 + ROW * i
        parts.append(_name(name, y + 4))
        if spread.value is None:
            parts.append(_not_measured(y))
            continue
        at = LEFT + PLOT * spread.value
        if spread.low is not None and spread.high is not None:
            low, high = (LEFT + PLOT * min(1.0, max(0.0, end)) for end in (spread.low, spread.high))
            parts.append(f'<line class="ci {escape(stage)}" x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}"/>')
        if not spread.values:
            parts.append(f'<circle class="dot {escape(stage)}" cx="{at:.1f}" cy="{y}" r="5"/>')
            continue
        parts.append(f'<line class="mean {escape(stage)}" x1="{at:.1f}" x2="{at:.1f}" y1="{y - 8}" y2="{y + 8}"/>')
        for seed, value in spread.values.items():
            label = f"{name}, seed {seed}: {100 * value:.0f} %"
            parts.append(
                f'<circle class="seed {escape(stage)}" cx="{LEFT + PLOT * value:.1f}" cy="{y}" r="3.5">'
                f"<title>{escape(label)}</title></circle>"
            )
    return "".join([*parts, "</svg>"])


def change(title: str, stage: str, rows: Sequence[tuple[str, Rate, Rate]]) -> str:
    """Before (a ring) and after (a dot) with an arrow between them, a form a line, 0 to 100 %."""
    parts = _opened("change", title, len(rows))
    for i, (name, before, after) in enumerate(rows):
        y = 18 + ROW * i
        parts.append(_name(name, y + 4))
        if before.value is None or after.value is None:
            parts.append(_not_measured(y))
            continue
        start, end = LEFT + PLOT * before.value, LEFT + PLOT * after.value
        parts.append(f'<line class="ci {escape(stage)}" x1="{start:.1f}" x2="{end:.1f}" y1="{y}" y2="{y}"/>')
        parts.append(f'<circle class="ring" cx="{start:.1f}" cy="{y}" r="5"/>')
        parts.append(f'<circle class="dot {escape(stage)}" cx="{end:.1f}" cy="{y}" r="5"/>')
    return "".join([*parts, "</svg>"])


def _svg(kind: str, title: str, height: int) -> list[str]:
    return [
        f'<svg class="{kind}" viewBox="0 0 {WIDTH} {height}" role="img" xmlns="http://www.w3.org/2000/svg">',
        f"<title>{escape(title)}</title>",
    ]


def _opened(kind: str, title: str, count: int) -> list[str]:
    """The beginning of a plot with ``count`` lines over an axis from 0 to 100 %."""
    height = ROW * count + 34
    parts = _svg(kind, title, height)
    for tick in (0, 25, 50, 75, 100):
        x = LEFT + PLOT * tick / 100
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="6" y2="{height - 24}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{height - 8}" text-anchor="middle">{tick}</text>')
    return parts


def _not_measured(y: int) -> str:
    return f'<text class="tick" x="{LEFT + 4}" y="{y + 4}">not measured</text>'


def _name(name: str, y: int) -> str:
    """The whole name, over one line or two; it is never cut."""
    lines = in_lines(name, NAME_LETTERS, most=2)
    if len(lines) == 1:
        return _line(lines[0], y, "")
    return "".join(_line(line, y - 5 + 11 * i, ' style="font-size:10.5px"') for i, line in enumerate(lines))


def _line(text: str, y: int, style: str) -> str:
    # Squeezed where it would run out of the picture: 60 letters are legible, 200 are at least there.
    squeezed = f' textLength="{NAME_WIDTH}" lengthAdjust="spacingAndGlyphs"' if len(text) > NAME_LETTERS + 2 else ""
    return f'<text x="{LEFT - 10}" y="{y}" text-anchor="end"{style}{squeezed}>{escape(text)}</text>'


def ledger(title: str, rows: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """Stacked bars of all outcomes, an arm a line; widths are shares of all probes asked."""
    parts = _svg("ledger", title, ROW * len(rows) + 8)
    for i, (name, outcomes) in enumerate(rows):
        y, x, total = 4 + ROW * i, float(LEFT), sum(outcomes.values())
        parts.append(_name(name, y + 14))
        for outcome in OUTCOMES:
            count = outcomes.get(outcome, 0)
            if not count:
                continue
            width = PLOT * count / total
            label = f"{name}: {outcome.replace('_', ' ')} {count} of {total}"
            parts.append(
                f'<rect class="o-{outcome}" x="{x:.1f}" y="{y}" width="{width:.1f}" height="18">'
                f"<title>{escape(label)}</title></rect>"
            )
            if width > 20:
                parts.append(
                    f'<text class="in" x="{x + width / 2:.1f}" y="{y + 13}" text-anchor="middle">{count}</text>'
                )
            x += width
    return "".join([*parts, "</svg>"])
