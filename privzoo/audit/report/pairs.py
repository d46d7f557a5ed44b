"""Tables of what was measured on pairs, and on codes: each figure beside the most that any attacker can reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from privzoo.audit import runner

PAIRS_TITLE = (
    "Are two features of one person? Strongest attacker on LFW's people in ten folds of disjoint people, mean and "
    "interval over folds; 100 candidates for a link. In brackets the most that any attacker can reach, where the "
    "mechanism bounds it:"
)
CODES_TITLE = (
    "What attackers get of codes, beside the most that any attacker can reach (people and classes equally likely):"
)
RECOGNISER = "dlib's recogniser"
METRICS = ("TAR at FAR 0.01", "TAR at FAR 0.001", "EER", "AUC")


def _rate(figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return ""
    shown = f"{figure['value']:.2%} ({figure['low']:.2%} to {figure['high']:.2%})"
    bound = figure.get("bound")
    return (
        shown + (f" [at most {bound:.2%}]" if bound is not None else "") + (", DEFECT" if figure.get("defect") else "")
    )


def _by(figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return ""
    luck = figure.get("optimism")
    return figure["attacker"] + (f", picked: up to {100 * luck:.2f} points of luck" if luck else "")


def sent(figure: Mapping[str, Any]) -> str:
    """How often and under what a feature was sent, as "epsilon 3, 100 queries, permanent answers"."""
    noise = figure["noise"]
    if not noise:
        return "as it is"
    parts = [f"epsilon {noise['epsilon']:g}", f"{figure['queries']} {'query' if figure['queries'] == 1 else 'queries'}"]
    return ", ".join([*parts, *(["permanent answers"] if noise.get("permanent") else [])])


def _groups(results: Sequence[Mapping[str, Any]], keys: Sequence[str], wanted: str) -> dict[tuple, dict[str, Any]]:
    """Best figures of a group of attacks, by metric, for all that differ in nothing else."""
    found: dict[tuple, dict[str, Any]] = {}
    for result in results:
        for figure in result["figures"]:
            if (
                figure["best"]
                and figure["attack"] != "recogniser"
                and runner.group(figure["attack"]) == wanted
                and figure["feature"] != "chance"
            ):
                place = (result["model"], *(figure.get(key, "") for key in keys), sent(figure))
                found.setdefault(place, {})[figure["metric"]] = figure
    return found


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows))


def pairs_table(results: Sequence[Mapping[str, Any]]) -> str:
    """Markdown of verification and linkability; empty where none was measured."""
    rows = []
    for (model, attack, feature, service, how), own in _groups(
        results, ("attack", "feature", "service"), "pairs"
    ).items():
        linked = next((figure for metric, figure in own.items() if metric.startswith("linked")), None)
        named = feature if feature != "features" else ""
        what = ", ".join(part for part in (attack, named, service if service != "fresh draws" else "") if part)
        by = _by(own.get(METRICS[0]) or linked)
        rows.append([model, what, how, *(_rate(own.get(metric)) for metric in METRICS), _rate(linked), by])
    if not rows:
        return ""
    named = [f for r in results for f in r["figures"] if f["attack"] == "recogniser"]
    rows += [
        [RECOGNISER, f"named of {f['data']}, {f['attacker']}", "as it is", "", "", "", "", _rate(f), ""] for f in named
    ]
    return f"{PAIRS_TITLE}\n\n" + _table(("model", "question", "sent", *METRICS, "linked", "by"), rows)


def codes_table(results: Sequence[Mapping[str, Any]]) -> str:
    """Markdown of identity and attributes on codes; empty where there are none."""
    coded = [r for r in results if any((f["noise"] or {}).get("kind") for f in r["figures"])]
    rows = []
    for (model, attack, variant, how), own in _groups(coded, ("attack", "variant"), "people").items():
        figure = next(iter(own.values()))
        if attack == "age":
            shown = f"off by {figure['value']:.1f} years ({figure['low']:.1f} to {figure['high']:.1f})"
        else:
            shown = _rate(figure)
        rows.append([model, variant, f"{attack}, {figure['metric']}", how, shown, _by(figure)])
    if not rows:
        return ""
    return f"{CODES_TITLE}\n\n" + _table(("model", "head", "figure", "sent", "strongest attacker", "by"), rows)
