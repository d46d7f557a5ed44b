"""The project's goals for the device, each with the figure that one run of the benchmark found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarking.files import PUBLISHED, PUBLISHED_SIZE, SLIM, WHOLE
from benchmarking.runs import Result, ratio
from privzoo.card import Card
from privzoo.evaluation import variants
from privzoo.evaluation.bars import Row
from privzoo.evaluation.intervals import exact, median
from privzoo.slim import ABOVE, LOST

# Osia et al. 2017, section VI.C: the whole network takes 534.49% more time to load and 217.66% more memory.
PAPER_LOADING, PAPER_MEMORY = 1 / 6.3, 1 / 3.2
GOAL_LOADING, GOAL_MEMORY = 1 / 20, 1 / 10
LATENCY, AGAINST_ONNX, SLIM_LATENCY = 1 / 4, 1.05, 0.4
AGREEMENT = {"gender": ("LFW", 0.995), "emotion": ("FER2013 test", 0.985)}
OWN_AGREEMENT = 0.985  # for networks trained on a user's own data: the laxer one, since the task is unknown
BEFORE, WITH = ", before its ", ", with its "  # how labels were compared, in the names of these goals
HEAD_MEMORY_MB, IMPORT_SECONDS, INSTALL_MB = 100, 0.3, 250
# Models whose label agreement is among the goals, in addition to the recommended ones.
ALSO = ("vgg16_gender_simple_conv5_3", "vgg_s_emotion_simple_conv5")
NO_SLIM = "there is no slim head yet"


def _compare(
    what: str, goal: str, limit: float, one: Result | None, other: Result | None, figure: str, note: str = ""
) -> Row:
    if one is None or other is None:
        return Row(what, goal, limit, None, "not in this run")
    return Row(what, goal, limit, ratio(one, other, figure), note or f"{one.key}; against {other.key}")


def _find(results: Mapping[str, Result], part: str, size: int, quantization: str, runtime: str) -> Result | None:
    wanted = (part, size, quantization, runtime)
    return next((r for r in results.values() if (r.part, r.size, r.quantization, r.runtime) == wanted), None)


def cost_rows(results: Mapping[str, Result], last_cut: str, sizes: Sequence[int]) -> list[Row]:
    """Goals for latency, loading and memory, as ratios within one run.

    Args:
        results: of `runs.run`.
        last_cut: of the architecture, "conv5_3" for VGG-16.
        sizes: that were measured; the first is the released models'.
    """
    rows = []
    published = _find(results, PUBLISHED, PUBLISHED_SIZE, "float32", "litert")
    for size in sizes:
        int8 = _find(results, last_cut, size, "int8", "litert")
        whole = _find(results, WHOLE, size, "float32", "litert")
        what = f"latency, int8 head of {last_cut} / float32 whole network, {size} px"
        rows.append(_compare(what, "at most 1/4", LATENCY, int8, whole, "inference_ms"))
    for size in sorted(sizes, key=lambda side: side != PUBLISHED_SIZE):
        int8 = _find(results, last_cut, size, "int8", "litert")
        for name, figure, least, best, words in (
            ("loading", "load_ms", PAPER_LOADING, GOAL_LOADING, ("1/6.3", "1/20")),
            ("peak memory", "peak_mb", PAPER_MEMORY, GOAL_MEMORY, ("1/3.2", "1/10")),
        ):
            what = f"{name}, int8 head of {last_cut} at {size} px / published whole network at {PUBLISHED_SIZE} px"
            rows.append(_compare(what, f"at most {words[0]}", least, int8, published, figure))
            rows.append(_compare(what, f"goal {words[1]}", best, int8, published, figure))
    for size in sizes:
        int8 = _find(results, last_cut, size, "int8", "litert")
        others = [r for r in results.values() if r.runtime == "onnxruntime" and r.size == size]
        quickest = min(others, key=lambda r: r.summary("inference_ms").value, default=None)
        what = f"latency, int8 head of {last_cut} on LiteRT / the best of ONNX Runtime, {size} px"
        rows.append(_compare(what, "within 5%", AGAINST_ONNX, int8, quickest, "inference_ms"))
    rows.append(_slim_latency(results))
    int8 = _find(results, last_cut, sizes[0], "int8", "litert")
    what = f"peak memory of the process with an int8 head of {last_cut}, {sizes[0]} px"
    found = int8.summary("peak_mb") if int8 else None
    rows.append(Row(what, "under 100 MB", HEAD_MEMORY_MB, found, "" if int8 else "not in this run", unit="MB"))
    return rows


def _slim_latency(results: Mapping[str, Result]) -> Row:
    what, goal = "latency, slim head / the best of ONNX Runtime", "at most 0.4"
    slim = next((r for r in results.values() if r.part == SLIM), None)
    if slim is None:
        return Row(what, goal, SLIM_LATENCY, None, NO_SLIM)
    others = [r for r in results.values() if r.runtime == "onnxruntime" and r.size == slim.size]
    best = min(others, key=lambda r: r.summary("inference_ms").value, default=None)
    return _compare(what, goal, SLIM_LATENCY, slim, best, "inference_ms")


def zoo_rows() -> list[Row]:
    """Goals judged by figures on the cards of the zoo's models: the recommended ones, `ALSO`, and slim heads."""
    import privzoo
    from privzoo.export.released import RECOMMENDED

    known = set(privzoo.list_models())
    cards = {name: privzoo.show(name) if name in known else None for name in (*RECOMMENDED, *ALSO)}
    return card_rows(cards, slim_cards())


def slim_cards() -> list[Card]:
    """Cards of the recommended models' slim heads."""
    import privzoo
    from privzoo.export.released import RECOMMENDED

    known = set(privzoo.list_models())
    return [privzoo.show(name, "slim") for name in RECOMMENDED if name in known and privzoo.show(name).model.slim]


def card_rows(cards: Mapping[str, Card | None], slim: Sequence[Card] = ()) -> list[Row]:
    """Goals judged by figures on the models' cards.

    Args:
        cards: of the recommended models and others of interest; None if the zoo has no such model yet.
        slim: of slim heads.
    """
    rows = []
    for name, card in cards.items():
        task = card.network.task if card else ("emotion" if "_emotion_" in name else "gender")
        data, least = AGREEMENT[task]
        what = f"labels of int8 head + tail that are the float network's, {data}, {name}"
        # The goal is about the head: the noise and the code of a model change labels by design.
        drawn = card and ("noise" if card.model.noise else "code" if card.model.code else None)
        measured = card and (
            (card.figure(variants.AGREEMENT_UNDRAWN, variants.INT8) if drawn else None)
            or card.figure(variants.AGREEMENT, variants.INT8)
        )
        note = "not measured yet" if card else "the zoo has no such model yet"
        if measured:
            note = f"from the card, {measured.date}, {measured.count:,} faces"
            if drawn and measured.metric == variants.AGREEMENT_UNDRAWN:
                what += f"{BEFORE}{drawn}"
            elif drawn:
                what += f"{WITH}{drawn}, which changes labels"
        found = measured.estimate() if measured else None
        rows.append(Row(what, f"at least {least:.1%}", least, found, note, at_least=True))
    return rows + [row for card in slim or (None,) for row in slim_rows(card)]


def about(what: str) -> str:
    """What a goal is about, however it was measured: a later run replaces an earlier one's."""
    return what.partition(BEFORE)[0].partition(WITH)[0]


def slim_rows(card: Card | None) -> list[Row]:
    """Goals for a slim head; None: there is none yet."""
    rows = []
    for what, goal, limit, unit, metric in (
        ("multiply-adds on the device, slim head / whole network", "at most 25%", 25, "%", None),
        ("accuracy that the slim head loses", "at most 1 point", 1, "points", LOST),
        ("identity attack on the slim head above its parent's", "at most 0.3 points", 0.3, "points", ABOVE),
    ):
        if card is None:
            rows.append(Row(what, goal, limit, None, NO_SLIM))
            continue
        what = f"{what}, {card.model.name}"
        if metric is None:
            share = 100 * card.cost.head_share
            rows.append(Row(what, goal, limit, exact(share), "from the layer tables", unit=unit))
            continue
        # The worst of float and int8, of one query and of many.
        found = max((m for m in card.measurements if m.metric == metric), key=lambda m: m.high, default=None)
        summary = found.estimate().scaled(100) if found else None
        note = f"from the card, {found.variant}, {found.date}" if found else "not measured yet"
        rows.append(Row(what, goal, limit, summary, note, unit=unit))
    return rows


def install_rows(import_seconds: Sequence[float], megabytes: float | None) -> list[Row]:
    """Goals for the plain installation.

    Args:
        import_seconds: processor time of `import privzoo.edge` in each fresh process.
        megabytes: size of the plain install on disk; None if unknown.
    """
    size = exact(megabytes) if megabytes is not None else None
    note = "" if size else "its packages are not all installed here"
    return [
        Row("import privzoo.edge, processor time", "under 0.3 s", IMPORT_SECONDS, median(import_seconds), unit="s"),
        Row("plain install on disk", "under 250 MB", INSTALL_MB, size, note, unit="MB"),
    ]
