"""What was measured on pairs, and on codes: each figure next to the most that any attacker can reach."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from privzoo import markdown
from privzoo.audit import runner
from privzoo.config import LABEL
from privzoo.crowd import FACES, Crowd

PAIRS_TITLE = (
    "Do two features show the same person? The strongest attacker on LFW's people, in ten folds of disjoint people, at "
    "each model's own budget: true accepts (TAR) at a share of false accepts (FAR), the equal error rate (EER), and "
    "how often the right one of 100 people is found at a second service. In brackets: the most that any attacker can "
    "reach. Permanent answers are those of services that share the device's secret; with a secret for each service, "
    "many answers tell what one tells."
)
CODES_TITLE = (
    "Who of {} is identified from a code, and what else is learnt, at its own budget, by the strongest "
    "attacker on any of its heads. In brackets: the most that any attacker can reach."
)
FRESH, ONE_SECRET, RECOGNISER = "fresh draws", "one secret", "recogniser"
METRICS = {"TAR at FAR 0.01": "TAR at FAR 1%, %", "EER": "EER, %"}  # on the page; the csv has all
Figure = Mapping[str, Any]


def sent(figure: Figure) -> str:
    """How often and at what budget a feature was sent, such as "epsilon 3, 100 queries, permanent answers"."""
    noise = figure["noise"]
    if not noise:
        return "as it is"
    parts = [f"epsilon {noise['epsilon']:g}", f"{figure['queries']} {'query' if figure['queries'] == 1 else 'queries'}"]
    return ", ".join([*parts, *(["permanent answers"] if noise.get("permanent") else [])])


def kept(results: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], Figure]]:
    """The strongest attackers' figures on pairs, of all models, and all on codes, each with its result."""
    for result in results:
        for figure in result["figures"]:
            on_code = bool((figure["noise"] or {}).get("kind"))
            if figure["best"] and (on_code or runner.group(figure["attack"]) == "pairs"):
                yield result, figure


def rows(results: Sequence[Mapping[str, Any]], among: Mapping[str, Crowd] | None = None) -> Iterator[dict[str, Any]]:
    """All of these figures, for csv; arguments as of `text`."""
    for result, f in kept(results):
        noise = f["noise"] or {}
        yield {
            "model": result["model"],
            "attack": f["attack"],
            "metric": f["metric"],
            "head": f["variant"],
            "feature": f["feature"],
            "epsilon": noise.get("epsilon"),
            "queries": f["queries"],
            "permanent_answers": bool(noise.get("permanent")),
            "service": f.get("service"),
            **{key: f[key] for key in ("value", "low", "high")},
            "at_most": f.get("bound"),
            "defect": bool(f.get("defect")),
            "attacker": f["attacker"],
            "picking_flatters_by": f.get("optimism"),
            "seeds": f["seeds"],
            "date": f.get("date", result["date"]),
            "revision": f.get("git", result["git"]),
            "among": str((among or {}).get(result["model"], FACES)) if f["attack"] == "identity" else None,
        }


def text(results: Sequence[Mapping[str, Any]], among: Mapping[str, Crowd] | None = None) -> list[str]:
    """Markdown of both tables, at each model's own budget; none if nothing was measured.

    Args:
        results: of `summary.read`.
        among: model -> those whom attackers looked for one of, where they are others than `FACES`.
    """
    return [part for part in (_pairs(results), _codes(results, among or {})) if part]


def _cell(figure: Figure | None) -> str:
    if figure is None:
        return ""
    bound = figure.get("bound")
    form = ".1f" if bound is None else ".2f"  # those near their bound differ in the second digit
    shown = markdown.spread(tuple(100 * figure[key] for key in ("value", "low", "high")), form)
    shown += f" [{100 * bound:.2f}]" if bound is not None else ""
    return shown + (", DEFECT" if figure.get("defect") else "")


def _own(results: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], Figure]]:
    """Figures at each model's own budget: the one that is attacked first."""
    own: dict[str, float] = {}
    for result, figure in kept(results):
        if (
            figure["noise"] is None
            or own.setdefault(result["model"], figure["noise"]["epsilon"]) == (figure["noise"]["epsilon"])
        ):
            yield result, figure


def _pairs(results: Sequence[Mapping[str, Any]]) -> str:
    found: dict[tuple[str, ...], dict[str, Figure]] = {}
    named = []
    for result, figure in _own(results):
        if figure["attack"] == RECOGNISER:
            named.append(
                f"dlib's recogniser identifies {100 * figure['value']:.1f}% of the people in the photographs of "
                f"{figure['data']}."
            )
        elif runner.group(figure["attack"]) == "pairs" and _tells(figure):
            thing = "photograph" if figure["pairs"] == "one photograph" else "person"
            if result["embedding"] == LABEL:  # much as codes of the same network; the csv has it
                continue
            service = "" if figure["service"] == FRESH else figure["service"]
            feature = "" if figure["feature"] == "features" else figure["feature"]
            place = (result["model"], ", ".join(part for part in (thing, feature, service) if part), sent(figure))
            metric = "linked" if figure["metric"].startswith("linked") else figure["metric"]
            found.setdefault(place, {})[metric] = figure
    if not found:
        return ""
    table = [[*place, *(_cell(own.get(metric)) for metric in (*METRICS, "linked"))] for place, own in found.items()]
    header = ("model", "the same", "sent", *METRICS.values(), "found again, %")
    return "\n\n".join([PAIRS_TITLE, markdown.table(header, table), *named])


def _tells(figure: Figure) -> bool:
    """Whether a figure on pairs is not another's again: permanent answers without a common secret are as one answer."""
    return figure["service"] == ONE_SECRET or not (figure["noise"] or {}).get("permanent")


def _codes(results: Sequence[Mapping[str, Any]], among: Mapping[str, Crowd]) -> str:
    found: dict[tuple[str, str], dict[tuple[int, bool], Figure]] = {}
    for result, figure in _own(results):
        if figure["attack"] == "age" or figure["metric"] == "top-5" or runner.group(figure["attack"]) != "people":
            continue
        if figure["noise"] is None or "kind" not in figure["noise"] or result["embedding"] == LABEL:
            continue  # chance; and label baselines, as above
        what = "identified" if figure["attack"] == "identity" else f"{figure['attack']}, balanced"
        own = found.setdefault((result["model"], f"{what}, epsilon {figure['noise']['epsilon']:g}"), {})
        way = (figure["queries"], bool(figure["noise"].get("permanent")))
        own[way] = max(own.get(way, figure), figure, key=lambda one: one["value"])
    if not found:
        return ""
    ways = sorted({way for own in found.values() for way in own}, key=lambda way: (way[1], way[0]))
    header = [
        f"from {'one answer' if queries == 1 else f'{queries} answers'}{', permanent' if permanent else ''}, %"
        for queries, permanent in ways
    ]
    table = [[*place, *(_cell(own.get(way)) for way in ways)] for place, own in found.items()]
    crowds = dict.fromkeys(among.get(model, FACES) for model, _ in found)
    title = CODES_TITLE.format(" or ".join(map(str, crowds)))
    return f"{title}\n\n" + markdown.table(("model", "learnt", *header), table)
