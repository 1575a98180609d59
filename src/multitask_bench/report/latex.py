r"""Tables as LaTeX (booktabs), with every character escaped so that pdflatex compiles what a run was named.

The preamble needs ``\usepackage{booktabs,graphicx,longtable}``.
"""

from __future__ import annotations

import re
import unicodedata

from multitask_bench.report.tables import Table

PREAMBLE = "\\usepackage{booktabs,graphicx,longtable}"
LONG = 45
"""From so many lines on a table breaks over pages (longtable)."""

WIDE = 120
"""From so many characters on, intervals stand under their figures."""

WRAPPED = 48
"""A column with a cell longer than this is set in lines."""

MANY = 9
"""A longtable of more columns is set in the smallest type."""

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "%": r"\%",
    "_": r"\_",
    "&": r"\&",
    "#": r"\#",
    "$": r"\$",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "`": "{`}",
    # After the \\ of a row these two would be read as its arguments.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "-": "-{}",
    "−": "$-$",
    "→": r"$\rightarrow$",
    "←": r"$\leftarrow$",
    "·": r"$\cdot$",
    "▲": r"$\uparrow$",
    "▼": r"$\downarrow$",
    "×": r"$\times$",
    "±": r"$\pm$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    "‘": "`",
    "’": "'",
    "“": "``",
    "”": "''",
    "«": "``",
    "»": "''",
    "ß": r"\ss{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "œ": r"\oe{}",
    "Œ": r"\OE{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
    "€": "EUR",
    "°": r"$^\circ$",
}
_ACCENTS = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0304": "=",
    "\u0308": '"',
    "\u030a": "r",
    "\u030b": "H",
    "\u030c": "v",
    "\u0327": "c",
}


def as_latex(table: Table, caption: str, label: str) -> str:
    """A booktabs table; names that repeat from the row above are left out, and groups are set apart.

    A wide table has its intervals under the figures, and is made as narrow as the line; one of more than
    ``LONG`` rows becomes a longtable.
    """
    long = len(table.rows) > LONG
    every = [table.header, *table.rows]
    wide = not long and sum(max(len(row[i]) for row in every) for i in range(len(table.header))) > WIDE
    grouped = any(a[0] == b[0] for a, b in zip(table.rows, table.rows[1:], strict=False))
    kinds = _columns(table, width="4.4cm" if long else "6cm")
    end = r" \\[2pt]" if wide else r" \\"
    body: list[str] = []
    last: str | None = None
    for row in table.rows:
        if grouped and last is not None and row[0] != last:
            body.append(r"\addlinespace")
        named = grouped and row[0] == last
        pairs = list(zip(row, kinds, strict=True))
        cells = ["" if named else _cell(*pairs[0], stacked=wide), *(_cell(*pair, stacked=wide) for pair in pairs[1:])]
        last = row[0]
        body.append(" & ".join(cells) + end)
    head = " & ".join(_cell(*pair, stacked=wide) for pair in zip(table.header, kinds, strict=True)) + r" \\"
    key = re.sub(r"[^A-Za-z0-9:-]+", "-", label).strip("-")
    title = rf"\caption{{{latex_text(caption)}}}\label{{{key}}}"
    columns = "".join(kinds)
    if long:
        size = r"\tiny" if len(table.header) > MANY else r"\scriptsize"
        return _lines(
            rf"\begingroup{size}\setlength{{\tabcolsep}}{{2.5pt}}\setlength{{\LTcapwidth}}{{\linewidth}}",
            rf"\begin{{longtable}}{{{columns}}}",
            title + r"\\",
            *(r"\toprule", head, r"\midrule", r"\endfirsthead"),
            *(r"\toprule", head, r"\midrule", r"\endhead"),
            *(r"\bottomrule", r"\endlastfoot"),
            *body,
            r"\end{longtable}",
            r"\endgroup",
        )
    return _lines(
        r"\begin{table}[tbp]",
        r"\centering\footnotesize\setlength{\tabcolsep}{4pt}",
        title,
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{{columns}}}",
        *(r"\toprule", head, r"\midrule"),
        *body,
        *(r"\bottomrule", r"\end{tabular}}", r"\end{table}"),
    )


def latex_text(text: str) -> str:
    """``text`` as LaTeX prints it; a letter that pdflatex has no name for stands as its code point."""
    return "".join(map(_letter, " ".join(text.split())))


def _cell(cell: str, kind: str, *, stacked: bool) -> str:
    """A cell; ``stacked`` puts the first bracket and what follows under the figure."""
    parts = re.split(r" (?=[\[(])", cell, maxsplit=1) if stacked and kind in "lr" else [cell]
    if len(parts) == 1:
        return latex_text(cell)
    first, second = map(latex_text, parts)
    return rf"\begin{{tabular}}[t]{{@{{}}{kind}@{{}}}}{first}\\{{\scriptsize {second}}}\end{{tabular}}"


def _letter(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    if char.isascii():
        return char if char.isprintable() else " "
    base, *marks = list(unicodedata.normalize("NFD", char))
    if len(marks) == 1 and marks[0] in _ACCENTS and base.isascii():
        # An accent replaces the dot of i and j.
        stem = {"i": r"\i", "j": r"\j"}.get(base, base)
        return rf"\{_ACCENTS[marks[0]]}{{{stem}}}"
    if unicodedata.category(char) in ("Mn", "Cf"):
        return ""
    plain = unicodedata.normalize("NFKD", char)
    return "".join(map(_letter, plain)) if plain.isascii() else f"{{[}}U+{ord(char):04X}{{]}}"


def _columns(table: Table, *, width: str) -> list[str]:
    kinds = []
    for i in range(len(table.header)):
        cells = [row[i] for row in table.rows]
        if any(len(cell) > WRAPPED for cell in cells):
            kinds.append(f"p{{{width}}}")
        elif i and all(cell[:1] in "+-0123456789<>" for cell in cells):
            kinds.append("r")
        else:
            kinds.append("l")
    return kinds


def _lines(*lines: str) -> str:
    return "\n".join(lines) + "\n"
