"""One line on who wins, and what has to be said beside the figures."""

from __future__ import annotations

import math
from collections.abc import Mapping

from vaeneer.measuring.representations import COLOUR_BASELINES, OWN
from vaeneer.measuring.similarity_figures import SimilarityFigures

Rows = Mapping[str, SimilarityFigures]

COLUMNS = {
    "auc": "AUC",
    "d_prime": "d'",
    "eer": "EER",
    "tpr_at_fpr_1e_2": "TPR@1e-2",
    "tpr_at_fpr_1e_3": "TPR@1e-3",
    "recall_at_1": "recall@1",
    "recall_at_5": "recall@5",
    "recall_at_10": "recall@10",
    "arr": "ARR",
    "map": "mAP",
}
"""The figures that decide, with their names for people."""
LOWER_IS_BETTER = ("eer",)


def goodness(row: SimilarityFigures, column: str) -> float:
    """A figure such that more is better; a d' without any spread is infinite."""
    value = getattr(row, column)
    if value is None:
        return math.inf if row.same_mean > row.different_mean else -math.inf
    return -float(value) if column in LOWER_IS_BETTER else float(value)


def best_in_each_column(rows: Rows) -> dict[str, list[str]]:
    """For each column the names of the representations that are best in it."""
    found = {}
    for column in COLUMNS:
        top = max(goodness(row, column) for row in rows.values())
        found[column] = [name for name, row in rows.items() if goodness(row, column) == top]
    return found


def verdict(rows: Rows, name: str = "embedding") -> str:
    """Whether one representation beats every baseline in every column, and where it does not.

    Empty where there are no baselines.
    """
    baselines = {other: row for other, row in rows.items() if other not in OWN}
    if not baselines or name not in rows:
        return ""
    behind, level = [], []
    for column, title in COLUMNS.items():
        rival = max(baselines.values(), key=lambda row: goodness(row, column))
        own, best = goodness(rows[name], column), goodness(rival, column)
        if own < best:
            behind.append(f"{title} ({rival.title} {shown(rival, column)})")
        elif own == best:
            level.append(title)
    title = rows[name].title
    even = f", level in {', '.join(level)}" if level else ""
    if not behind:
        return f"The {title} beats every baseline in every column{even}."
    ahead = len(COLUMNS) - len(behind) - len(level)
    return (
        f"The {title} is ahead of every baseline in {ahead} of {len(COLUMNS)} columns{even};"
        f" behind in {', '.join(behind)}."
    )


def colour_note(rows: Rows) -> str:
    """What to say where a colour histogram does at least as well as the embedding; else nothing."""
    better = [
        f"{rows[name].title} (AUC {rows[name].auc:.4f})"
        for name in COLOUR_BASELINES
        if name in rows and rows[name].auc >= rows["embedding"].auc
    ]
    if not better:
        return ""
    verb = "separates" if len(better) == 1 else "separate"
    return (
        f"NOTE: {' and '.join(better)}, which learnt nothing, {verb} these crops at least as"
        f" well as the embedding (AUC {rows['embedding'].auc:.4f})."
    )


def shown(row: SimilarityFigures, column: str) -> str:
    """A figure as it stands in tables."""
    value = getattr(row, column)
    if value is None:
        return "inf"
    return f"{value:.2f}" if column == "d_prime" else f"{value:.4f}"
