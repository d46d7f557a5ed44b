"""What comes back from DataMix's mixtures, in RESULTS.md."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from privzoo import markdown
from privzoo.audit.mixtures import RECOVERED, SIDE, SIZE, estimate
from privzoo.evaluation import bars
from privzoo.evaluation.intervals import Estimate
from privzoo.provenance import write_csv

SECTION = markdown.Section("unmixing", "tools/unmixing.py")
GOAL = 0.95  # of the images of a request that are recovered, to call mixing broken
HELD = 0.05  # a protection holds if at most so many are recovered
SIZES = ("images of a group", "mixed", "recovered, %", "median correlation", "as they arrive, %", f"goal: {GOAL:.0%}")
PROTECTIONS = ("what might help", "recovered, %", "median correlation", "as they arrive, %", "epsilon")
LOST = 0.05  # of the share that is recognised in raw pixels: less is lost by mixing if it is broken
PEOPLE = ("judge", "mixed", "raw pixels, %", "unmixed, %", "lost, points", f"goal: at most {100 * LOST:.0f} points")
COVERS = ("one face is sent with", "recovered, %", "median correlation", "from the average, %")


def write(page: Path, kept: Path) -> None:
    """Writes the section into a Markdown file, and its rows as csv.

    Args:
        page: the Markdown file.
        kept: JSON file of tools/unmixing.py.
    """
    found = json.loads(kept.read_text(encoding="utf-8"))
    folder = markdown.tables_folder(page)
    facts = {key: found[key] for key in ("date", "git", "command", "seed")}
    links = []
    for name in ("requests", "covers", "reduced", "people"):
        target = folder / f"unmixing_{name}.csv"
        if found[name]:
            write_csv(target, [{**row, **facts} for row in found[name]])
            links.append(markdown.link(page, target))
    SECTION.write(page, text(found, ", ".join(links)))


def holding(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the protections under which at most `HELD` of the faces are recovered, shown by the whole interval."""
    return [row["name"] for row in rows if estimate(dict(row), "recovered").high <= HELD]


def text(found: Mapping[str, Any], link: str) -> str:
    """The section.

    Args:
        found: what the file of tools/unmixing.py says.
        link: to the rows, as Markdown.
    """
    rows = found["requests"]
    sizes, groups, protections = (
        [row for row in rows if row["part"] == part] for part in ("size", "groups", "protection")
    )
    held = holding(protections)
    outcome = (
        f"Of {len(protections)} ways to mix, these leave the attacker at most {HELD:.0%}: {'; '.join(held)}."
        if held
        else f"None of {len(protections)} ways to mix is shown to leave the attacker {HELD:.0%} of the faces or less."
    )
    fallen = [row for row in protections if row["recovered"] >= GOAL]
    standing = [row for row in protections if row["recovered"] < GOAL]
    lowest = min((row["recovered"] for row in fallen), default=1.0)
    shuffled = ", ".join(f"{row['groups']} groups: {100 * row['recovered']:.0f}%" for row in groups)
    parts = [
        "## What DataMix's mixtures give away",
        "DataMix (Liu et al. 2020) sends mixtures of a group of images with secret coefficients. This attacker has one "
        f"request and faces of {found['own']} other people, and finds the images by filters, whitening and FastICA. "
        f"LFW, {SIDE} px, one photograph of a person; recovered is what has a correlation above {RECOVERED} with the "
        "original. As they arrive: the same of the mixtures, without an attack. Intervals are over requests.",
        markdown.table(SIZES, [_size(row) for row in sizes]),
        f"Mixtures shuffled across groups of {groups[0]['size']} are sorted first ({shuffled} recovered). {outcome}"
        if groups
        else outcome,
        f"In groups of {SIZE} unless another size is named, {100 * lowest:.0f}% or more come back with "
        f"{'; '.join(row['name'] for row in fallen)}. Less comes back with:"
        if fallen
        else "",
        markdown.table(PROTECTIONS, [_protection(row) for row in standing]) if standing else "Nothing.",
        "Noise is in units of each mixture's deviation; epsilon is what that noise would keep for one face of a "
        "request (delta 1e-5).",
        *_covers(found["covers"]),
        *(_reduced(row) for row in found["reduced"]),
        *_people(found["people"]),
        f"Not measured yet: {'; '.join(found['missing'])}." if found["missing"] else "",
        f"{found['date']}, code {found['git']}, seed {found['seed']}, `{found['command']}`. All figures: {link}.",
    ]
    return "\n\n".join(part for part in parts if part)


def _covers(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return []
    return [
        "Covers are for one request: the spaces that two requests with one common face span meet in that face.",
        markdown.table(COVERS, [_cover(row) for row in rows]),
    ]


def _reduced(row: Mapping[str, Any]) -> str:
    recovered, guessed = (Estimate(row[n], row[f"{n}_low"], row[f"{n}_high"]) for n in ("recovered", "guessed"))
    found, blind = (markdown.percent(one, interval=True) for one in (recovered, guessed))
    told = "more" if recovered.low > guessed.high else "not shown to be more"
    return (
        f"Statistics cannot unmix a few numbers. Where {row['model']} mixes its {row['numbers']} numbers in groups of "
        f"{row['size']}, the likeliest turn of the mixtures gives {found}% of the features, {told} than the {blind}% "
        f"of a guess without them; its share of the second class errs by {100 * row['share_error']:.0f} points, that "
        f"of the guess by {100 * row['share_error_guessed']:.0f}."
    )


def _people(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return []
    cells = []
    for row in rows:
        lost = Estimate(row["lost"], row["lost_low"], row["lost_high"])
        cells.append(
            (
                row["judge"],
                _mixed(row),
                _share(row, "raw"),
                _share(row, "unmixed"),
                markdown.percent(lost, interval=True, signed=True),
                bars.judge(lost, LOST),
            )
        )
    return [
        f"The {rows[0]['photographs']} scored photographs of LFW-100, each sent once in a group of 8, and judged by "
        "attackers that have learnt from raw photographs. After blocks of the network, a decoder makes images of the "
        "unmixed activations. Each person counts the same.",
        markdown.table(PEOPLE, cells),
    ]


def _mixed(row: Mapping[str, Any]) -> str:
    return f"after {row['blocks']} block{'s' * (row['blocks'] > 1)}" if row["blocks"] else "pixels"


def _share(row: Mapping[str, Any], name: str, interval: bool = True) -> str:
    ends = Estimate(row[name], row[f"{name}_low"], row[f"{name}_high"])
    return markdown.percent(ends, interval=interval)


def _size(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        str(row["size"]),
        _mixed(row),
        _share(row, "recovered"),
        f"{row['recovered_median']:.3f}",
        _share(row, "untouched", interval=False),
        bars.judge(estimate(dict(row), "recovered"), GOAL, at_least=True),
    )


def _protection(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        row["name"],
        _share(row, "recovered"),
        f"{row['recovered_median']:.3f}",
        _share(row, "untouched", interval=False),
        "" if row["epsilon"] is None else f"{row['epsilon']:,.0f}",
    )


def _cover(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        row["name"],
        _share(row, "recovered"),
        f"{row['recovered_median']:.4f}",
        _share(row, "average", interval=False),
    )
