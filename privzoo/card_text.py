"""Text on cards: training data and history, budgets, subgroups, limitations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from privzoo import markdown
from privzoo.config import DATAMIX, OBFUSCATED, SPEECH, ModelConfig, NetworkConfig
from privzoo.outputs import ATTRIBUTES

if TYPE_CHECKING:
    from privzoo.costs import Cost
    from privzoo.crowd import Crowd
    from privzoo.measurement import Measurement
    from privzoo.mechanisms.bounds import Bounds


# Names of data sets, as measurements name them -> as people write them.
DATA = {
    "lfw": "LFW",
    "fer2013": "FER2013",
    "arabic_speech": "Arabic Speech Commands",
    "celeba": "CelebA",
    "lfw_attributes": "LFW attributes",
    "lfwa": "LFWA",
}


def data_name(data: str) -> str:
    """A measurement's data as people write it.

    Example:
        >>> data_name("lfw, one face in 8")
        'LFW, one face in 8'
    """
    name, comma, rest = data.partition(",")
    return DATA.get(name, name) + comma + rest


#: Whose accuracy tables of models show.
TOLD = "of the int8 head if both were measured on all faces, otherwise of the float head"


def input_of(network: NetworkConfig) -> str:
    """What a network takes, in words."""
    if network.input == SPEECH:
        frames, bands, _ = network.input_shape
        return f"spectrograms of one second of speech, {frames} frames of {bands} bands"
    return f"{network.input_size} px RGB faces"


def nouns(network: NetworkConfig) -> str:
    """What a network is trained and measured on, in one word."""
    return "clips" if network.input == SPEECH else "faces"


def broken(recovered: Measurement | None, identity: Measurement | None, among: Crowd, noun: str) -> str:
    """What a DataMix card says first: that it was broken, by what, and how far, as Markdown.

    Args:
        recovered: the share of faces that come back from a request; None: not measured on this model.
        identity: the strongest identity attack on what comes back; None: not measured.
        among: those whom it looked for.
        noun: of what is mixed; see `nouns`.
    """
    by = "Independent component analysis (`tools/unmixing.py`)"
    if recovered is None:
        return f"**Broken: never rely on it.** {by} unmixes requests without their key; not measured on this model yet."

    then = f", and {_interval(identity)} of {among} are identified in them" if identity else ""
    return (
        f"**Broken: never rely on it.** {by} recovers {_interval(recovered)} of the {noun} from the mixtures of one "
        f"request, without its key{then}."
    )


def unproved(rebuilt: Measurement | None, identity: Measurement | None, among: Crowd) -> str:
    """What an obfuscated model's card says first: what attackers trained afresh get from its image, as Markdown.

    Args:
        rebuilt: how many faces a recogniser names in what the strongest decoder rebuilds; None: not measured.
        identity: the strongest identity attack on the image; None: not measured.
        among: those whom it looked for.
    """
    found = [
        f"from what the strongest decoder rebuilds, a face recogniser names {_interval(rebuilt)} of the faces"
        if rebuilt
        else "no decoder has been trained afresh on its images yet",
        f"attackers who learn from the image itself identify {_interval(identity)} of {among}"
        if identity
        else "nobody has been identified in the image itself, because nobody has tried",
    ]
    return f"**Not proved, only attacked:** {found[0]}; {found[1]} (`tools/audit.py`)."


def _interval(m: Measurement) -> str:
    return f"{100 * m.value:.1f}% ({100 * m.low:.1f} to {100 * m.high:.1f})"


def feature(model: ModelConfig, cost: Cost) -> str:
    """What leaves the device, as Markdown."""
    if model.code:
        return "- feature: 1 symbol, 1 byte, and the epsilon that it was sent under"
    shape = "x".join(map(str, cost.feature_shape))
    if model.embedding == DATAMIX:
        return (
            f"- feature: {shape} float32, {cost.feature_bytes:,} bytes, sent as a mixture with those of other faces; a "
            "half of the bytes as int16, a quarter as int8"
        )
    rounded = ", rounded to whole numbers" if model.step else ""
    image = " image" if model.embedding == OBFUSCATED else ""
    return f"- feature: {shape} float32{image}, {cost.feature_bytes:,} bytes{rounded}"


def obfuscation(network: NetworkConfig) -> list[str]:
    """Which networks an obfuscator was trained for, as Markdown."""
    if network.obfuscation is None:
        return []
    readers = " and ".join((network.parent or "", *network.obfuscation.also))
    return [f"- obfuscated: by a network of {network.obfuscation.width:g} times the published width, for {readers}"]


def _own_facts(record: dict[str, Any] | None) -> dict[str, Any]:
    return ((record or {}).get("data") or {}).get("own") or {}


def training_data(network: NetworkConfig, record: dict[str, Any] | None) -> str:
    """What a network was trained on, in words: a public data set's name, or the user's own folder."""
    if not network.own_data:
        campaign = network.training.campaign
        return " and ".join((network.training.dataset, *(campaign.also if campaign else ())))
    folder = _own_facts(record).get("folder")
    return f"own images in the folder {folder}" if folder else "own images"


def own_data(record: dict[str, Any] | None) -> list[str]:
    """How many of the user's own images there were, by class and part, as Markdown."""
    facts = _own_facts(record)
    if not facts:
        return []
    classes = ", ".join(f"{count:,} {name}" for name, count in facts["images"].items())
    parts = ", ".join(f"{count:,} {part}" for part, count in facts["parts"].items())
    people = f", {facts['people']:,} known people" if facts["people"] else ""
    return [f"- images: {classes}{people}; {parts}; held out: {facts['held_out']}"]


def seeds(numbers: tuple[int, ...]) -> str:
    """Seeds in few characters, such as "1 to 20"."""
    if len(numbers) > 3 and list(numbers) == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(map(str, numbers))


def figures(measurements: tuple[Measurement, ...], network: NetworkConfig) -> list[str]:
    """The table of measured figures, followed by the numbered commands that measured them, as Markdown."""
    if not measurements:
        return ["Nothing has been measured yet."]
    commands = list(dict.fromkeys(m.command for m in measurements))
    rows = (
        (
            *(m.metric, m.variant, m.data, m.shown(m.value), f"{m.shown(m.low)} to {m.shown(m.high)}", f"{m.count:,}"),
            *(seeds(m.seeds), m.date, m.git, str(commands.index(m.command) + 1)),
        )
        for m in measurements
    )
    header = ("metric", "of", "data", "value", "95% interval", nouns(network), "seeds", "date", "code", "command")
    return [
        markdown.table(header, rows),
        "",
        "Commands:",
        "",
        *(f"{number}. `{command}`" for number, command in enumerate(commands, start=1)),
    ]


BUDGETS = (
    "epsilon",
    "accuracy, %",
    "95% interval",
    "ceiling, %",
    "share of the ceiling, %",
    "95% interval",
    "calibration error, %",
)


def by_budget(found: dict[str, Any] | None, network: NetworkConfig) -> list[str]:
    """A code's accuracy and share of the ceiling at each budget, as Markdown."""
    if found is None:
        return []
    rows = sorted(found["figures"], key=lambda row: row["epsilon"])
    facts = (
        f"{found['data']}, {rows[0]['faces']:,} {nouns(network)}, seeds {seeds(tuple(rows[0]['seeds']))} of the draws"
    )
    title = (
        f"Accuracy at each budget, int8 head, {facts}, {found['date']}, code {found['git']}, by `{found['command']}`. "
        "The ceiling is the best that any mechanism of that epsilon can reach with the network's own labels:"
    )
    cells = [
        (
            f"{row['epsilon']:g}",
            _percent(row["accuracy"]),
            f"{_percent(row['low'])} to {_percent(row['high'])}",
            _percent(row["ceiling"]),
            _percent(row["share_of_ceiling"]),
            f"{_percent(row['share_low'])} to {_percent(row['share_high'])}",
            _percent(row["calibration_error"]),
        )
        for row in rows
    ]
    return ["", title, "", markdown.table(BUDGETS, cells)]


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def by_subgroup(found: dict[str, Any] | None) -> list[str]:
    """The widest gap and the table of subgroups, as Markdown."""
    if found is None:
        return []
    from privzoo.evaluation import subgroups

    rows = [subgroups.Subgroup(**row) for row in found["subgroups"]]
    title = f"Accuracy by perceived gender, race and age: {found['variant']}, {found['data']}, {found['date']}"
    title += f", code {found['git']}, by `{found['command']}`" if {"git", "command"} <= found.keys() else ""
    gap = subgroups.sentence(rows)
    return ["", f"{title}{'; ' if gap else ''}{gap}.", "", subgroups.table(rows)]


def history(record: dict[str, Any] | None, network: NetworkConfig) -> list[str]:
    """When and how a network was trained, and what quantizing its weights cost, as Markdown."""
    if record is None:
        return []
    data, release = record["data"], record["release"]
    before, after = (release["validation_accuracy"][key] for key in ("float32", "released"))
    changed = release["labels_changed_by_coding"]
    return [
        f"- trained {_course(record, network)} on {data['train']:,} {nouns(network)}, seed "
        f"{record['config']['training']['seed']}, {record['date']}, code {record['git']}",
        f"- weights stored as {network.coding}, {release['bytes']:,} bytes: accuracy on "
        f"{release['validation_faces']:,} validation {nouns(network)} {before:.2%} before, "
        f"{after:.2%} after, {changed} labels changed",
    ]


def _course(record: dict[str, Any], network: NetworkConfig) -> str:
    """How long a network was trained, in words; in a campaign, how much of the plan there was time for, and by whom."""
    if (campaign := network.training.campaign) is None:
        return f"for {len(record['epochs'])} epochs"
    last = record["epochs"][-1]
    teachers = (
        f"the teachers of {campaign.taught_by}" if campaign.taught_by else f"{len(campaign.teachers)} of its kind"
    )
    taught = f", taught by {teachers}," if campaign.distillation else ""
    return (
        f"on one {record['campaign']['device']}{taught} for {last['steps']:,.0f} of {last['planned_steps']:,.0f} "
        f"planned steps of {network.training.batch_size}"
    )


def bounds(
    found: Sequence[Bounds], network: NetworkConfig, among: Crowd, attack_of: Callable[[int], Measurement | None]
) -> list[str]:
    """What no attacker can exceed, next to what the strongest one measured reached, as Markdown.

    Args:
        found: for several numbers of queries.
        network: whose features they are about.
        among: the people whom attacks were measured on, who are those of the bound beside them.
        attack_of: the strongest attack measured that averages so many queries.
    """
    if not found:
        return []
    names = [name for name, _ in found[0].rows(among)]
    rows, source = [], "recording" if network.input == SPEECH else "photograph"
    for one in found:
        # What one query tells is all that permanent answers do.
        measured = attack_of(1 if one.permanent else one.queries)
        shown = f"{measured.value:.2%} ({measured.low:.2%} to {measured.high:.2%})" if measured else "not measured"
        queries = f"{one.queries} of one {source}, permanent" if one.permanent else str(one.queries)
        rows.append((queries, *(value for _, value in one.rows(among)), shown))
    title = "What no attacker can exceed, whatever they know (privzoo.mechanisms.bounds):"
    return ["", title, "", markdown.table(("queries of one person", *names, f"measured top-1 of {among}"), rows)]


SPOKEN = (
    "Trained on 18 speakers who read single words to a microphone in a quiet place: expect different error rates for "
    "other voices, accents, microphones and rooms.",
    "Always answers with one of its words, whatever was said, and to noise too: let another detector find out when "
    "somebody speaks.",
)


def limits(network: NetworkConfig, model: ModelConfig) -> tuple[str, ...]:
    """What a user must know before relying on a model."""
    data = "the user's own images" if network.own_data else "photographs of public data sets"
    common: tuple[str, ...] = (
        SPOKEN
        if network.input == SPEECH
        else (
            f"Trained on {data}: expect different error rates for other cameras, ages and ethnicities.",
            "Needs a roughly frontal face. In a photograph it may be rotated by any angle: BlazeFace finds it, and the "
            "eyes are used to rotate it upright; a given face chip must be upright, and framed like the zoo's.",
        )
    )
    hidden = "voice and what was said" if network.input == SPEECH else "face"
    unmeasured = (f"Assume that a feature that was not measured against an attack reveals the {hidden}.",)
    gender = "The labels are two classes of perceived gender in photographs; they say nothing about who a person is."
    attributes = (
        "The attributes are what annotators, or classifiers, said of photographs: some are matters of taste, and rare "
        "ones are often missed (balanced accuracy shows it)."
    )
    noise = "The noise protects one feature: several of one person add up (privzoo.mechanisms.gaussian says how)."
    code = (
        "The code protects one answer: several about one person add up, unless they are permanent "
        "(privzoo.mechanisms.permanent says what that costs).",
        "From a symbol the tail gets nothing but the classes: the whole network's work is done on the device.",
    )
    broken = (
        "Never rely on it: mixing is no encryption. Independent component analysis recovers the mixed features from "
        "one request, without the key, and from them the faces; there is no epsilon (SECURITY.md).",
        "A face is mixed with others, which must be secret and are used once; its answer depends on them.",
    )
    unlabelled = _unlabelled(network.task)
    protected = ((noise,) if model.noise else ()) + (code if model.code else ())
    if model.code and model.code.base is None:
        protected += (
            "It is the baseline: the whole network is on the device, and anyone with the device has it. A split model "
            "is worthwhile if the tail's weights must stay secret, serve several tasks, or are too large.",
        )
    # What a code reveals is bounded, whatever is measured.
    common += () if model.code else unmeasured
    unproved = (
        "Nothing is proved, and there is no epsilon: the obfuscator was trained against one deobfuscator, and an "
        "attacker trains another on its output. Rely on no figure but that of decoders that were trained afresh.",
        "The image is made for one network, or a few: expect other networks to read it badly.",
    )
    mixed = {DATAMIX: broken, OBFUSCATED: unproved}.get(model.embedding, ())
    told = ((gender,) if network.task == "gender" else ()) + ((attributes,) if network.output == ATTRIBUTES else ())
    return mixed + told + common + unlabelled + protected


def _unlabelled(task: str) -> tuple[str, ...]:
    """Why a task's accuracy is not reported by subgroup, if no data have the labels."""
    from privzoo.evaluation.subgroups import NO_LABELS

    return (NO_LABELS[task],) if task in NO_LABELS else ()
