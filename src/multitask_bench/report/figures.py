"""Figures as inline SVG: rates with intervals, and ledger bars. Sizes are in CSS pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from multitask_bench.schema import Rate

OUTCOMES = ("complied", "partial", "off_task", "incoherent", "refused", "judge_refused", "unscored")
ROW, LEFT, WIDTH = 26, 138, 340


def dots(title: str, rows: Sequence[tuple[str, str, Rate]]) -> str:
    """One small plot: an arm a line, its rate as a dot and its 95 % interval as a bar, 0 to 100 %."""
    height, plot = ROW * len(rows) + 34, WIDTH - LEFT - 14
    parts = [
        f'<svg class="dots" viewBox="0 0 {WIDTH} {height}" role="img" xmlns="http://www.w3.org/2000/svg">',
        f"<title>{escape(title)}</title>",
    ]
    for tick in (0, 25, 50, 75, 100):
        x = LEFT + plot * tick / 100
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="6" y2="{height - 24}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{height - 8}" text-anchor="middle">{tick}</text>')
    for i, (name, stage, rate) in enumerate(rows):
        y = 18 + ROW * i
        parts.append(f'<text x="{LEFT - 10}" y="{y + 4}" text-anchor="end">{escape(name)}</text>')
        if rate.value is None or rate.low is None or rate.high is None:
            parts.append(f'<text class="tick" x="{LEFT + 4}" y="{y + 4}">not measured</text>')
            continue
        low, at, high = (LEFT + plot * v for v in (rate.low, rate.value, rate.high))
        parts.append(f'<line class="ci {escape(stage)}" x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}"/>')
        parts.append(f'<circle class="dot {escape(stage)}" cx="{at:.1f}" cy="{y}" r="5"/>')
    return "".join([*parts, "</svg>"])


def ledger(title: str, rows: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """Stacked bars of all outcomes, an arm a line; widths are shares of all probes asked."""
    height, plot = ROW * len(rows) + 8, WIDTH - LEFT - 14
    parts = [
        f'<svg class="ledger" viewBox="0 0 {WIDTH} {height}" role="img" xmlns="http://www.w3.org/2000/svg">',
        f"<title>{escape(title)}</title>",
    ]
    for i, (name, outcomes) in enumerate(rows):
        y, x, total = 4 + ROW * i, float(LEFT), sum(outcomes.values())
        parts.append(f'<text x="{LEFT - 10}" y="{y + 14}" text-anchor="end">{escape(name)}</text>')
        for outcome in OUTCOMES:
            count = outcomes.get(outcome, 0)
            if not count:
                continue
            width = plot * count / total
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
