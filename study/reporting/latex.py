"""LaTeX: a booktabs table a data set, methods by label counts, to be read into a paper with \\input."""

from __future__ import annotations

from collections.abc import Sequence

from study.analysis.statistics import Comparison, Interval, Series
from study.reporting.compared import BASELINES, Compared, Place

_SPECIAL = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "[": "{[}",  # which after a row's end would be taken for a length
}
_NO_MARK = r"\phantom{$^\dagger$}"  # what stands in for the mark, so that the numbers stay in line


def to_latex(tables: Sequence[Compared]) -> str:
    """All tables. They need the package booktabs."""
    return "% needs \\usepackage{booktabs}\n" + "\n".join(map(_table, tables))


def escaped(text: str) -> str:
    """Text as LaTeX shows it: names of data sets come from users."""
    return "".join(_SPECIAL.get(character, character) for character in " ".join(text.split()))


def _table(data: Compared) -> str:
    width = 1 + len(data.places)
    lines = [
        r"\begin{table}",
        r"\centering\scriptsize\setlength{\tabcolsep}{1.2pt}",
        rf"\caption{{{escaped(data.group.title)}: test accuracy in \%, mean $\pm$ half the 95\,\% t-interval over "
        r"draws of the labels. Bold: the best of its block at a label count; $^\dagger$: not separated from it "
        r"(paired t-test, $p \geq 0.05$ after Holm's correction over all pairs of the block).}",
        rf"\begin{{tabular}}{{l{'r' * len(data.places)}}}",
        r"\toprule",
        " & ".join(["labels", *(f"{labels:,}".replace(",", r"\,") for _, labels in data.places)]) + r" \\",
    ]
    baselines = [series for series in data.names if series.mode in BASELINES]
    if baselines:
        lines += [r"\midrule", *(_row(data, series, {}) for series in baselines)]
    for mode in data.modes:
        ranked = [series for series in data.ranked(mode) if series.mode == mode]
        best = {
            place: data.contests[mode, place].means[0].series for place in data.places if (mode, place) in data.contests
        }
        lines += [r"\midrule", rf"\multicolumn{{{width}}}{{l}}{{\itshape {escaped(mode)}}} \\"]
        lines += [_row(data, series, best) for series in ranked]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def _row(data: Compared, series: Series, best: dict[Place, Series]) -> str:
    cells = [escaped(data.names[series])]
    for place in data.places:
        if (mean := data.accuracy.get((series, place))) is None:
            cells.append("")
        elif best.get(place) == series:
            cells.append(rf"\textbf{{{_mean(mean)}}}{_half(mean)}{_NO_MARK}")
        else:
            pairs = data.contests[series.mode, place].pairs if place in best else ()
            cells.append(f"{_mean(mean)}{_half(mean)}{_mark(pairs, series, best.get(place))}")
    return " & ".join(cells) + r" \\"


def _mean(mean: Interval) -> str:
    return f"{100 * mean.mean:.1f}"


def _half(mean: Interval) -> str:
    return "" if mean.high is None else rf"{{\tiny${{\pm}}${100 * (mean.high - mean.mean):.1f}}}"


def _mark(pairs: Sequence[Comparison], series: Series, best: Series | None) -> str:
    close = any({pair.first, pair.second} == {series, best} and not pair.separated for pair in pairs)
    return r"$^\dagger$" if close else _NO_MARK
