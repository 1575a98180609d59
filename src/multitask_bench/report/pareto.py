"""The picture of a choice between fixes: answered against twins refused, as SVG and as a layout that others draw.

Left and down is better. A mark's area is the task score relative to the plain fine-tune's; every name stands at its
mark, moved to where it covers nothing, or as a number with a key where there is no such place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from multitask_bench.report._select import in_lines

WIDTH, HEIGHT = 360, 380
LEFT, TOP, RIGHT, BOTTOM = 46, 10, 350, 336
"""The plot, in CSS pixels."""
LETTERING = 12
"""Height of a line of a name."""
NARROW, WIDE = frozenset("fijlrtI.,:;|'()[] -+"), frozenset("mwMW%@")
"""Letters about 4 and 9.5 px wide at 11 px, where others take 6.5: as wide as any usual font sets them."""
MOST_NAMES = 18
"""With more marks than this, numbers stand at them."""
NAME_LETTERS = 18
"""A longer name stands on two lines."""
RADIUS = 8.0
"""Of a mark with the plain fine-tune's task score."""
UNKNOWN = 5.0
"""Of a mark whose task was not measured."""
OFFERED = ("plain", "fix")
KEY_LINE = 15


class Mark(NamedTuple):
    """One model in the picture, as it is served; rates in [0, 1]."""

    name: str
    role: str
    stage: str
    x: tuple[float, float, float]
    """Twins refused: value, low, high."""
    y: tuple[float, float, float]
    """Answered."""
    relative: float | None
    """Task score over the plain fine-tune's."""
    less: bool
    """Whether it learned less."""
    best: bool
    """Whether it is recommended."""
    guard: bool

    @property
    def offered(self) -> bool:
        """Whether a user could choose it: not a reference, not a control, not one that learned less."""
        return self.role in OFFERED and not self.less

    @property
    def radius(self) -> float:
        """In pixels, within what can be seen and what leaves room."""
        return UNKNOWN if self.relative is None else min(1.2, max(0.35, math.sqrt(max(0.0, self.relative)))) * RADIUS


class Box(NamedTuple):
    """A rectangle in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        """Whether the two overlap."""
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )


Line = tuple[float, float, float, float]
"""From one point to another, in pixels."""


class Label(NamedTuple):
    """A name, or its number, where it stands."""

    lines: tuple[str, ...]
    box: Box
    leader: tuple[float, float] | None
    """Where a thin line from the mark ends; None where the name touches its mark."""


class Layout(NamedTuple):
    """Where everything stands, in pixels from the upper left."""

    marks: list[Mark]
    ends: tuple[float, float]
    """Of the axes, as fractions."""
    at: list[tuple[float, float]]
    labels: list[Label]
    front: list[tuple[float, float]]
    """The corners of the stepped front, from the upper left."""
    key: list[str]
    """Under the picture: what numbers stand for; empty where names do."""

    @property
    def height(self) -> int:
        """Of the whole picture."""
        return HEIGHT + KEY_LINE * len(self.key)

    def place(self, x: float, y: float) -> tuple[float, float]:
        """A pair of rates in pixels, cut at the end of the axes."""
        across, up = (min(value, end) / end for value, end in zip((x, y), self.ends, strict=True))
        return LEFT + (RIGHT - LEFT) * across, BOTTOM - (BOTTOM - TOP) * up

    def bars(self, mark: Mark) -> list[Line]:
        """The two intervals of a mark."""
        (x, x_low, x_high), (y, y_low, y_high) = mark.x, mark.y
        return [
            (*self.place(x_low, y), *self.place(x_high, y)),
            (*self.place(x, y_low), *self.place(x, y_high)),
        ]


def marks(one: Mapping[str, Any]) -> list[Mark]:
    """The models of one plain fine-tune (`results["repairs"]`) whose two rates were measured."""
    plain = next((row["skill"] for row in one["rows"] if row["role"] == "plain"), None)
    out = []
    for row in one["rows"]:
        x, y = _ends(row["twins_refused"]), _ends(row["answered"]["all"])
        if x is None or y is None or row["role"] == "base":
            continue
        skill = row["skill"]
        relative = None
        if plain is not None and skill is not None and skill["metric"] == plain["metric"] and plain["value"]:
            relative = skill["value"] / plain["value"]
        best = row["name"] == one["recommendation"]["name"]
        less, guard = bool(row["learned_less"]), row["guard"] is not None
        out.append(Mark(row["name"], row["role"], row["stage"], x, y, relative, less, best, guard))
    return out


def _ends(rate: Mapping[str, Any]) -> tuple[float, float, float] | None:
    if rate["value"] is None:
        return None
    value = float(rate["value"])
    low, high = (value if rate[key] is None else float(rate[key]) for key in ("low", "high"))
    return value, low, high


def front(every: Sequence[Mark]) -> list[Mark]:
    """Those on offer that no other beats in one rate without losing in the other, from the left."""
    offered = [m for m in every if m.offered]
    best = [
        m
        for m in offered
        if not any(o.x[0] <= m.x[0] and o.y[0] <= m.y[0] and (o.x[0], o.y[0]) != (m.x[0], m.y[0]) for o in offered)
    ]
    return sorted(best, key=lambda m: (m.x[0], -m.y[0]))


def laid_out(every: Sequence[Mark]) -> Layout:
    """The picture of ``every`` mark; the larger are drawn first, so that none hides another."""
    ordered = sorted(every, key=lambda m: (-m.radius, m.name))
    ends = _end(max((m.x[0] for m in ordered), default=0.0)), _end(max((m.y[0] for m in ordered), default=0.0))
    bare = Layout(ordered, ends, [], [], [], [])
    at = [bare.place(m.x[0], m.y[0]) for m in ordered]
    bare = bare._replace(at=at, front=_steps(bare, front(ordered)))
    names = [tuple(in_lines(m.name, NAME_LETTERS, most=2)) for m in ordered]
    labels = _labels(bare, names) if len(names) <= MOST_NAMES else None
    if labels is not None:
        return bare._replace(labels=labels)
    numbers = [(str(i),) for i in range(1, len(ordered) + 1)]
    numbered = _labels(bare, numbers) or []
    return bare._replace(labels=numbered, key=[f"{i}  {m.name}" for i, m in enumerate(ordered, 1)])


def _end(most: float) -> float:
    """The end of an axis: room beyond the largest value, a round number."""
    wanted = most * 1.12 + 0.02
    return next((end for end in (0.1, 0.2, 0.3, 0.4, 0.6, 0.8) if end >= wanted), 1.0)


def ticks(end: float) -> list[float]:
    """Four or five round numbers from 0 to the end of an axis."""
    step = {0.1: 0.02, 0.2: 0.05, 0.3: 0.1, 0.4: 0.1, 0.6: 0.2, 0.8: 0.2}.get(end, 0.25)
    return [i * step for i in range(round(end / step) + 1)]


def _steps(layout: Layout, best: Sequence[Mark]) -> list[tuple[float, float]]:
    """From the top over each mark of the front to the right edge."""
    points = list(dict.fromkeys(layout.place(m.x[0], m.y[0]) for m in best))
    if not points:
        return []
    out = [(points[0][0], float(TOP))]
    for i, (x, y) in enumerate(points):
        out.append((x, y))
        out.append((points[i + 1][0] if i + 1 < len(points) else float(RIGHT), y))
    return out


class _Drawn(NamedTuple):
    """What a name should not cover: boxes never, thin lines at a price."""

    boxes: list[Box]
    bars: list[Line]
    leaders: list[Line]


def _labels(layout: Layout, names: Sequence[tuple[str, ...]]) -> list[Label] | None:
    """A free place for every name, the nearest of those that cover least; None where a name finds none."""
    every = zip(layout.marks, layout.at, strict=True)
    boxes = [Box(x - m.radius, y - m.radius, x + m.radius, y + m.radius) for m, (x, y) in every]
    drawn = _Drawn(boxes, [bar for m in layout.marks for bar in layout.bars(m)], [])
    found: dict[int, Label] = {}
    for i in sorted(range(len(names)), key=lambda i: -_neighbours(layout.at, i)):
        label = _label(layout, i, names[i], drawn)
        if label is None:
            return None
        drawn.boxes.append(label.box)
        if label.leader is not None:
            drawn.leaders.append((*layout.at[i], *label.leader))
        found[i] = label
    return [found[i] for i in range(len(names))]


def width_of(line: str) -> float:
    """About how many pixels a line takes at 11 px."""
    return math.fsum(4.0 if c in NARROW else 9.5 if c in WIDE else 6.5 for c in line)


def _neighbours(at: Sequence[tuple[float, float]], i: int) -> float:
    return math.fsum(1 / (20 + math.dist(at[i], other)) for k, other in enumerate(at) if k != i)


def _label(layout: Layout, i: int, lines: tuple[str, ...], drawn: _Drawn) -> Label | None:
    (x, y), radius = layout.at[i], layout.marks[i].radius
    bold = 1.08 if layout.marks[i].best else 1.0
    width, height = bold * max(map(width_of, lines)) + 4, LETTERING * len(lines) + 1
    best: tuple[float, Label] | None = None
    for away in (3, 9, 16, 24, 34, 46, 60, 76, 94, 114, 136, 160):
        if best is not None and best[0] <= away:
            break
        for turn in range(24):
            across, down = math.cos(turn * math.pi / 12), math.sin(turn * math.pi / 12)
            middle = (x + across * (radius + away + width / 2), y + down * (radius + away + height / 2))
            box = Box(middle[0] - width / 2, middle[1] - height / 2, middle[0] + width / 2, middle[1] + height / 2)
            if not _inside(box) or any(box.meets(other) for other in drawn.boxes):
                continue
            end = _nearest(x, y, box)
            label = Label(lines, box, end if math.dist((x, y), end) > radius + 5 else None)
            price = away + _price(layout, i, label, drawn)
            if best is None or price < best[0]:
                best = price, label
    return best[1] if best is not None else None


def _price(layout: Layout, i: int, label: Label, drawn: _Drawn) -> float:
    """What a place costs beside its distance, in pixels: lines under a name, and any doubt whose name it is."""
    (x, y), box = layout.at[i], label.box
    own = math.dist((x, y), _nearest(x, y, box))
    nearer = sum(math.dist(at, _nearest(*at, box)) < own + 2 for k, at in enumerate(layout.at) if k != i)
    price = 4.0 * sum(_crosses(box, bar) for bar in drawn.bars) + 40.0 * sum(
        _crosses(box, one) for one in drawn.leaders
    )
    if label.leader is not None:
        line = (x, y, *label.leader)
        price += 40.0 * sum(_crosses(other, line) for k, other in enumerate(drawn.boxes) if k != i)
    return price + 15.0 * nearer


def _inside(box: Box) -> bool:
    return box.left >= LEFT + 1 and box.right <= WIDTH and box.top >= 0 and box.bottom <= BOTTOM - 1


def _nearest(x: float, y: float, box: Box) -> tuple[float, float]:
    """The point of a box that is nearest to a point."""
    return min(max(x, box.left), box.right), min(max(y, box.top), box.bottom)


def _holds(box: Box, x: float, y: float) -> bool:
    return box.left <= x <= box.right and box.top <= y <= box.bottom


def _crosses(box: Box, line: Line) -> bool:
    """Whether a line runs through a box, to within a pixel or so."""
    x1, y1, x2, y2 = line
    if not box.meets(Box(min(x1, x2) - 0.1, min(y1, y2) - 0.1, max(x1, x2) + 0.1, max(y1, y2) + 0.1)):
        return False
    if x1 == x2 or y1 == y2:
        return True
    steps = max(2, int(math.dist((x1, y1), (x2, y2)) / 3))
    return any(_holds(box, x1 + (x2 - x1) * k / steps, y1 + (y2 - y1) * k / steps) for k in range(1, steps))


def pareto(title: str, every: Sequence[Mark]) -> str:
    """The picture as inline SVG."""
    found = laid_out(every)
    parts = [
        f'<svg class="pareto" viewBox="0 0 {WIDTH} {found.height}" role="img" xmlns="http://www.w3.org/2000/svg">',
        f"<title>{escape(title)}</title>",
        *_axes(found),
    ]
    if found.front:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in found.front)
        parts.append(f'<polyline class="front" points="{path}"/>')
    for mark in found.marks:
        for x1, y1, x2, y2 in found.bars(mark):
            parts.append(
                f'<line class="thin {escape(mark.stage)}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
            )
    for (x, y), label in zip(found.at, found.labels, strict=True):
        if label.leader is not None:
            end = label.leader
            parts.append(f'<line class="leader" x1="{x:.1f}" y1="{y:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}"/>')
    for mark, at in zip(found.marks, found.at, strict=True):
        parts.append(_mark(mark, *at))
    for mark, label in zip(found.marks, found.labels, strict=True):
        parts += [_text(line, label, k, bold=mark.best) for k, line in enumerate(label.lines)]
    parts += [
        f'<text class="tick" x="{LEFT}" y="{HEIGHT + KEY_LINE * k + 8}">{escape(line)}</text>'
        for k, line in enumerate(found.key)
    ]
    return "".join([*parts, "</svg>"])


def _axes(found: Layout) -> list[str]:
    parts = []
    for value in ticks(found.ends[0]):
        x, _ = found.place(value, 0.0)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{BOTTOM}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{BOTTOM + 15}" text-anchor="middle">{100 * value:.0f}</text>')
    for value in ticks(found.ends[1]):
        _, y = found.place(0.0, value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{100 * value:.0f}</text>')
    middle = (TOP + BOTTOM) / 2
    parts.append(
        f'<text x="{(LEFT + RIGHT) / 2}" y="{BOTTOM + 32}" text-anchor="middle">benign twins refused, %</text>'
    )
    parts.append(
        f'<text x="11" y="{middle}" text-anchor="middle" transform="rotate(-90 11 {middle})">'
        "harmful probes answered, %</text>"
    )
    return parts


def _mark(mark: Mark, x: float, y: float) -> str:
    kind = "hollow" if not mark.offered else "dot"
    dashed = " less" if mark.less else ""
    size = (
        "task not measured" if mark.relative is None else f"task score {100 * mark.relative:.0f} % of the plain one's"
    )
    told = f"{mark.name}: answered {100 * mark.y[0]:.0f} %, twins refused {100 * mark.x[0]:.0f} %, {size}"
    look = f'class="{kind} {escape(mark.stage)}{dashed}"'
    r = mark.radius
    shape = (
        f'<rect {look} x="{x - r:.1f}" y="{y - r:.1f}" width="{2 * r:.1f}" height="{2 * r:.1f}"'
        if mark.guard
        else f'<circle {look} cx="{x:.1f}" cy="{y:.1f}" r="{r:.1f}"'
    )
    ring = f'<circle class="best" cx="{x:.1f}" cy="{y:.1f}" r="{r + 3:.1f}"/>' if mark.best else ""
    return f"{ring}{shape}><title>{escape(told)}</title></{'rect' if mark.guard else 'circle'}>"


def _text(line: str, label: Label, k: int, *, bold: bool) -> str:
    x, y = (label.box.left + label.box.right) / 2, label.box.top + LETTERING * (k + 1) - 2.5
    weight = ";font-weight:700" if bold else ""
    style = f"font-size:11px{weight}"
    return f'<text class="at" x="{x:.1f}" y="{y:.1f}" text-anchor="middle" style="{style}">{escape(line)}</text>'
