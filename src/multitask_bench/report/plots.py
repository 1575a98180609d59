"""Figures for print: the matrix, the seeds, the gaps between forms, the effects of calibrations.

Drawn with matplotlib (the extra ``report``); the same results give the same bytes. Shades run from light
to dark, so that they survive a grey printer; hues are Okabe and Ito's (2008), told apart by shape as well.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from multitask_bench.errors import MissingExtraError
from multitask_bench.report import grid, mitigation, pareto
from multitask_bench.report._groups import (
    Calibration,
    Effect,
    Group,
    Spread,
    Spreads,
    calibrations,
    groups,
    main_calibration,
)
from multitask_bench.report._select import Results, form_label, forms, in_lines, shortened
from multitask_bench.report.summary import percent, whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KINDS = ("svg", "png", "pdf")
PNG_DPI = 200
SHADES = ("#fffaf5", "#fdd9b5", "#f79a55", "#c7501a", "#6d2408")
"""Light to dark: nothing answered to everything answered."""

STAGE_HUES = {
    "base": "#CC79A7",
    "aligned": "#0072B2",
    "control": "#5a6475",
    "tuned": "#D55E00",
    "repaired": "#009E73",
}
HUES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
SHAPES = ("o", "s", "^", "D", "v", "P", "X")
INK, SOFT, LINE = "#1c2330", "#5a6475", "#d9dee7"
STYLE: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so every machine draws the same
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": INK,
    "xtick.labelcolor": INK,
    "axes.linewidth": 0.6,
    "svg.hashsalt": "multitask-bench",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
    "figure.dpi": 100,
}
EMPTY = (0.94, 0.945, 0.957, 1.0)
NAME_LETTERS = 26


def figures(results: Results) -> dict[str, dict[str, bytes]]:
    """Every figure that the results allow: name -> kind (``svg``, ``png``, ``pdf``) -> bytes.

    Raises: MissingExtraError: matplotlib is not installed.
    """
    makers: tuple[tuple[str, Callable[[Results], Figure | None]], ...] = (
        ("matrix", matrix),
        ("seeds", seeds),
        ("seeds-by-form", seeds_by_form),
        ("gaps", gaps),
        ("calibrations", calibration_effects),
        *((f"fixes{i or ''}", _fixes(i)) for i in range(len(mitigation.fine_tunes(results)))),
    )
    out = {}
    with _style():
        for name, make in makers:
            figure = make(results)
            if figure is not None:
                # Laid out once: the engine would do it again for every kind.
                figure.draw_without_rendering()
                figure.set_layout_engine("none")
                out[name] = {kind: _bytes(figure, kind) for kind in KINDS}
    return out


def matrix(results: Results) -> Figure | None:
    """A panel a calibration: arms down, forms across, the share answered as shade and number."""
    asked, every = grid.columns(results), groups(results)
    panels = calibrations(results)
    if not every or not asked:
        return None
    spreads = Spreads(results)
    across = min(2, len(panels))
    down = -(-len(panels) // across)
    width, height = 1.9 + across * (0.7 * len(asked) + 0.15), down * (0.36 * len(every) + 0.75) + 0.75
    figure, axes = _panels(down, across, width, height)
    ramp = _ramp(SHADES)
    for i, axis in enumerate(axes):
        if i >= len(panels):
            axis.set_visible(False)
            continue
        _matrix_panel(axis, [[spreads.of(g, panels[i], form=f) for f in asked] for g in every], ramp)
        axis.set_title(_asked(panels[i]))
        axis.set_xticks(range(len(asked)), [form_label(f).replace(" ", "\n") for f in asked], fontsize=6.8)
        axis.set_yticks(range(len(every)), [_name(g) for g in every] if i % across == 0 else [""] * len(every))
        axis.tick_params(length=0)
        for k in range(1, len(every)):
            if every[k].stage != every[k - 1].stage:
                axis.axhline(k - 0.5, color="white", linewidth=4)
        if len(asked) > 1:
            axis.axvline(len(asked) - 1.5, color="white", linewidth=4)
    _scale(figure, ramp, "answered, % of judged harmful probes; several seeds: their mean (in brackets: 95 % interval)")
    return figure


def seeds(results: Results) -> Figure | None:
    """A panel a calibration: each seed a dot, the mean a bar, Student's interval a line; over all forms."""
    form = None if len(forms(results)) > 1 else next(iter(forms(results)), None)
    return _strips(results, [(c, form, _asked(c)) for c in calibrations(results)])


def seeds_by_form(results: Results) -> Figure | None:
    """The same, a panel a form, under the headline's calibration."""
    calibration = main_calibration(results)
    if calibration is None or len(forms(results)) < 2:
        return None
    return _strips(results, [(calibration, form, form_label(form)) for form in forms(results)])


def gaps(results: Results) -> Figure | None:
    """A panel a form: its rate less that of text generation on the same intents, a mark a calibration."""
    cells = grid.gap_cells(results)
    shown = [form for form in forms(results) if any(key[2] == form for key in cells)]
    every = [g for g in groups(results) if any(key[0] == g.name for key in cells)]
    if not shown or not every:
        return None
    asked = [c for c in calibrations(results) if any(key[1] == c for key in cells)]
    width, height = 1.9 + 1.75 * len(shown), 0.12 * len(every) * (len(asked) + 1.3) + 1.5
    figure, axes = _panels(1, len(shown), width, height)
    reach = _reach(cells.values())
    for axis, form in zip(axes, shown, strict=True):
        lines = [[cells.get((g.name, c, form)) for c in asked] for g in every]
        _forest(axis, lines, reach)
        axis.set_title(form_label(form))
    axes[0].set_yticks(range(len(every)), [_name(g) for g in every])
    _marks_legend(figure, [_asked(c) for c in asked])
    _below(figure, f"answered, points above (+) or below (−) text generation{_effect_key(results)}")
    return figure


def calibration_effects(results: Results) -> Figure | None:
    """A panel a change of calibration: what it does to answered and to twins refused, over all forms."""
    measured: dict[str, dict[tuple[str, bool], Effect]] = {}
    for twin in (False, True):
        for group, step, cells in grid.effect_lines(results, twin=twin)[1]:
            if cells and cells[-1] is not None:
                measured.setdefault(step, {})[group.name, twin] = cells[-1]
    if not measured:
        return None
    every = [g for g in groups(results) if any((g.name, t) in of for of in measured.values() for t in (False, True))]
    sides = [t for t in (False, True) if any((g.name, t) in of for of in measured.values() for g in every)]
    across = min(2, len(measured))
    down = -(-len(measured) // across)
    width, height = 1.9 + 2.9 * across, down * (0.12 * len(every) * (len(sides) + 1) + 0.7) + 0.9
    figure, axes = _panels(down, across, width, height)
    reach = _reach(e for of in measured.values() for e in of.values())
    for i, axis in enumerate(axes):
        if i >= len(measured):
            axis.set_visible(False)
            continue
        step = list(measured)[i]
        _forest(axis, [[measured[step].get((g.name, t)) for t in sides] for g in every], reach)
        axis.set_title(step.replace(", ", "\n"))
        axis.set_yticks(range(len(every)), [_name(g) for g in every] if i % across == 0 else [""] * len(every))
    _marks_legend(figure, ["harmful probes answered" if not t else "harmless twins refused" for t in sides])
    _below(figure, f"change in points, same probes{_effect_key(results)}")
    return figure


def _fixes(i: int) -> Callable[[Results], Figure | None]:
    """What draws the fixes of the run's fine-tune number ``i``: the report's picture, in points for pixels."""

    def draw(results: Results) -> Figure | None:
        from matplotlib.figure import Figure as Canvas
        from matplotlib.patheffects import withStroke

        found = pareto.laid_out(pareto.marks(mitigation.fine_tunes(results)[i]))
        if not found.marks:
            return None
        figure = Canvas(figsize=(pareto.WIDTH / 72, found.height / 72))
        axis = figure.add_axes((0, 0, 1, 1))
        axis.set_xlim(0, pareto.WIDTH)
        axis.set_ylim(found.height, 0)
        axis.axis("off")
        _pareto_axes(axis, found)
        if found.front:
            axis.plot(*zip(*found.front, strict=True), color=SOFT, linewidth=1, linestyle=(0, (3, 2)), zorder=1)
        for mark, at, label in zip(found.marks, found.at, found.labels, strict=True):
            _pareto_mark(axis, found, mark, at)
            if label.leader is not None:
                axis.plot([at[0], label.leader[0]], [at[1], label.leader[1]], color=SOFT, linewidth=0.5, zorder=2)
            middle = (label.box.left + label.box.right) / 2, (label.box.top + label.box.bottom) / 2
            weight = "bold" if mark.best else "normal"
            written: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 9.2, "zorder": 6, "linespacing": 1.1}
            written["path_effects"] = [withStroke(linewidth=2.5, foreground="white")]
            axis.text(*middle, "\n".join(label.lines), fontweight=weight, **written)
        for k, line in enumerate(found.key):
            axis.text(pareto.LEFT, pareto.HEIGHT + pareto.KEY_LINE * k + 8, line, fontsize=8, color=SOFT)
        return figure

    return draw


def _pareto_axes(axis: Axes, found: pareto.Layout) -> None:
    lines: dict[str, Any] = {"color": LINE, "linewidth": 0.6, "zorder": 0}
    for value in pareto.ticks(found.ends[0]):
        x, _ = found.place(value, 0.0)
        axis.plot([x, x], [pareto.TOP, pareto.BOTTOM], **lines)
        axis.text(x, pareto.BOTTOM + 15, f"{100 * value:.0f}", ha="center", fontsize=8, color=SOFT)
    for value in pareto.ticks(found.ends[1]):
        _, y = found.place(0.0, value)
        axis.plot([pareto.LEFT, pareto.RIGHT], [y, y], **lines)
        axis.text(pareto.LEFT - 6, y, f"{100 * value:.0f}", ha="right", va="center", fontsize=8, color=SOFT)
    middle = (pareto.LEFT + pareto.RIGHT) / 2, (pareto.TOP + pareto.BOTTOM) / 2
    axis.text(middle[0], pareto.BOTTOM + 32, "benign twins refused, %", ha="center", fontsize=9)
    axis.text(11, middle[1], "harmful probes answered, %", ha="center", va="center", rotation=90, fontsize=9)


def _pareto_mark(axis: Axes, found: pareto.Layout, mark: pareto.Mark, at: tuple[float, float]) -> None:
    from matplotlib.patches import Circle, Rectangle

    hue, r = STAGE_HUES.get(mark.stage, INK), mark.radius
    for x1, y1, x2, y2 in found.bars(mark):
        axis.plot([x1, x2], [y1, y2], color=hue, linewidth=0.8, alpha=0.45, zorder=1)
    look: dict[str, Any] = {"edgecolor": "white" if mark.offered else hue, "linewidth": 1.2, "zorder": 3}
    look |= {"facecolor": hue if mark.offered else "white", "linestyle": (0, (2, 1.5)) if mark.less else "-"}
    square = mark.guard
    axis.add_patch(Rectangle((at[0] - r, at[1] - r), 2 * r, 2 * r, **look) if square else Circle(at, r, **look))
    if mark.best:
        axis.add_patch(Circle(at, r + 3, facecolor="none", edgecolor=INK, linewidth=1.2, zorder=4))


def _strips(results: Results, panels: list[tuple[Calibration, str | None, str]]) -> Figure | None:
    every = groups(results)
    if not any(len(g.arms) > 1 for g in every):
        return None
    spreads = Spreads(results)
    across = min(3 if len(panels) > 4 else 2, len(panels))
    down = -(-len(panels) // across)
    width, height = 7.8, down * (0.29 * len(every) + 0.62) + 0.75
    figure, axes = _panels(down, across, width, height)
    for i, axis in enumerate(axes):
        if i >= len(panels):
            axis.set_visible(False)
            continue
        calibration, form, title = panels[i]
        _strip_panel(axis, [(g, spreads.of(g, calibration, form=form)) for g in every])
        axis.set_title(title)
        axis.set_yticks(range(len(every)), [_name(g) for g in every] if i % across == 0 else [""] * len(every))
    _below(
        figure,
        "answered, % of judged harmful probes. Dot: one seed; bar: mean over seeds; line: 95 % interval\n"
        "(Student's over seeds; of the one adapter where a diamond stands)",
    )
    return figure


def _matrix_panel(axis: Axes, cells: list[list[Spread | None]], ramp: Any) -> None:
    for y, line in enumerate(cells):
        for x, cell in enumerate(line):
            value = cell.value if cell is not None else None
            face = ramp(value) if value is not None else EMPTY
            axis.add_patch(_box(x, y, face))
            if cell is None or value is None:
                axis.text(x, y, "–", ha="center", va="center", color=SOFT, fontsize=7)
                continue
            ink = _ink(face)
            number = percent({"value": value, "low": 0, "high": 0}).split(" ")[0]
            axis.text(x, y - 0.12, number, ha="center", va="center", color=ink, fontsize=9)
            if cell.low is not None and cell.high is not None:
                ends = f"[{whole(cell.low)}, {whole(cell.high)}]"
                axis.text(x, y + 0.26, ends, ha="center", va="center", color=ink, fontsize=6.2)
    axis.set_xlim(-0.5, len(cells[0]) - 0.5)
    axis.set_ylim(len(cells) - 0.5, -0.5)
    for side in axis.spines.values():
        side.set_visible(False)


def _ink(face: Sequence[float]) -> str:
    """White or dark letters: whichever stands out more from ``face`` (contrast as WCAG 2 counts it)."""
    red, green, blue = ((c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4) for c in face[:3])
    return "white" if 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.2 else INK


def _box(x: float, y: float, face: Any) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=face, edgecolor="white", linewidth=1)


def _strip_panel(axis: Axes, rows: list[tuple[Group, Spread | None]]) -> None:
    _bare(axis, len(rows))
    axis.set_xlim(-2, 102)
    axis.set_xticks([0, 25, 50, 75, 100])
    for y, (group, cell) in enumerate(rows):
        if cell is None or cell.value is None:
            axis.text(1, y, "not measured", va="center", color=SOFT, fontsize=7)
            continue
        hue = STAGE_HUES.get(group.stage, INK)
        if cell.low is not None and cell.high is not None:
            ends = (max(0.0, 100 * cell.low), min(100.0, 100 * cell.high))
            axis.plot(ends, (y, y), color=hue, linewidth=1.4, alpha=0.75, solid_capstyle="butt", zorder=2)
        if not cell.values:
            axis.plot([100 * cell.value], [y], "D", color=hue, markersize=4.5, zorder=3, clip_on=False)
            continue
        axis.plot([100 * cell.value] * 2, [y - 0.32, y + 0.32], color=hue, linewidth=2, zorder=3)
        values = [100 * value for value in cell.values.values()]
        dots: dict[str, Any] = {"markersize": 4, "mec": "white", "mew": 0.5, "zorder": 4, "clip_on": False}
        axis.plot(values, [y] * len(values), "o", color=hue, **dots)


def _forest(axis: Axes, lines: list[list[Effect | None]], reach: int) -> None:
    """A row an arm, a mark a column; filled where the difference was shown in every seed."""
    _bare(axis, len(lines))
    axis.axvline(0, color=SOFT, linewidth=0.8, zorder=1)
    axis.set_xlim(-reach, reach)
    step = next(step for most, step in ((10, 5), (20, 10), (45, 20), (70, 25), (200, 50)) if reach <= most)
    ticks = [t for t in range(-100, 101, step) if abs(t) <= reach]
    axis.set_xticks(ticks, [f"{t:+d}".replace("-", "−") if t else "0" for t in ticks])
    count = max(len(line) for line in lines)
    for row, line in enumerate(lines):
        for k, cell in enumerate(line):
            if cell is None or cell.value is None:
                continue
            y = row + (k - (count - 1) / 2) * 0.76 / max(1, count)
            hue = HUES[k % len(HUES)]
            ends = cell.range or (cell.low, cell.high)
            if ends[0] is not None and ends[1] is not None:
                axis.plot([100 * ends[0], 100 * ends[1]], [y, y], color=hue, linewidth=1.3, zorder=2)
            whole_group = cell.seeds in (cell.rises, cell.falls)
            face = hue if whole_group else "white"
            mark = SHAPES[k % len(SHAPES)]
            axis.plot([100 * cell.value], [y], mark, color=hue, mfc=face, mew=1, markersize=4.2, zorder=3)


def _bare(axis: Axes, rows: int) -> None:
    axis.set_ylim(rows - 0.5, -0.5)
    axis.set_yticks(range(rows), [""] * rows)
    axis.tick_params(axis="y", length=0)
    axis.tick_params(axis="x", length=2.5, width=0.6)
    axis.grid(axis="x", color=LINE, linewidth=0.6, zorder=0)
    axis.set_axisbelow(True)
    for y in range(1, rows):
        axis.axhline(y - 0.5, color=LINE, linewidth=0.4, zorder=0)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)


def _reach(effects: Any) -> int:
    """Half the width of a difference axis, in points: what holds every mark and line, a multiple of ten."""
    ends = [
        abs(end)
        for e in effects
        for end in (e.value, *(e.range or (e.low, e.high)))
        if e is not None and end is not None
    ]
    return min(105, 10 * int(-(-(100 * max(ends, default=0.1) + 2) // 10)))


def _effect_key(results: Results) -> str:
    many = any(len(g.arms) > 1 for g in groups(results))
    line = "line: from the lowest to the highest seed (one adapter: 95 % interval)" if many else "line: 95 % interval"
    where = "in every seed " if many else ""
    return f". Filled: shown {where}(Holm p < .05);\n{line}"


def _panels(down: int, across: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure as Canvas

    figure = Canvas(figsize=(width, height), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False)
    return figure, [axis for line in axes for axis in line]


def _scale(figure: Figure, ramp: Any, text: str) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    bar = figure.colorbar(
        ScalarMappable(Normalize(0, 100), ramp), ax=figure.axes, location="bottom", shrink=0.5, aspect=45, pad=0.03
    )
    bar.set_label(text)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=2, width=0.6)


def _marks_legend(figure: Figure, names: list[str]) -> None:
    from matplotlib.lines import Line2D

    if len(names) < 2:
        return
    handles = [
        Line2D([], [], color=HUES[k % len(HUES)], marker=SHAPES[k % len(SHAPES)], markersize=4.5, linewidth=1.2)
        for k in range(len(names))
    ]
    figure.legend(handles, names, loc="outside upper center", ncols=2, frameon=False)


def _below(figure: Figure, text: str) -> None:
    figure.supxlabel(text, fontsize=8, color=SOFT)


def _ramp(shades: tuple[str, ...]) -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("answered", list(shades))


def _name(group: Group) -> str:
    return "\n".join(in_lines(group.name, NAME_LETTERS, most=2))


def _asked(calibration: Calibration) -> str:
    system = "no system prompt" if calibration.system == "none" else f"system prompt: {shortened(calibration.system)}"
    return f"{calibration.template} template, {system}"


def _bytes(figure: Figure, kind: str) -> bytes:
    out = io.BytesIO()
    # Dates and versions would change the bytes; a PNG keeps no text at all.
    metadata: dict[str, dict[str, Any]] = {
        "svg": {"Date": None, "Creator": "multitask-bench"},
        "pdf": {"CreationDate": None, "Creator": "multitask-bench", "Producer": None},
        "png": {"Software": None},
    }
    figure.savefig(out, format=kind, dpi=PNG_DPI, metadata=metadata[kind])
    return out.getvalue()


@contextmanager
def _style() -> Iterator[None]:
    try:
        import matplotlib
    except ModuleNotFoundError as err:
        raise MissingExtraError.of("drawing figures", "report") from err
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield
