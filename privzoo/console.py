"""Output of the command line: any name in any encoding, JSON as UTF-8, tables, errors in its own words."""

from __future__ import annotations

import io
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO

from privzoo import outputs, texts
from privzoo.crowd import FACES
from privzoo.errors import AudioError

# Advice in errors for Python users -> the same for the command line; in order, longer phrases first.
_WORDS = (
    (r"""leave out face=["']given["'] or all_faces""", "leave out --face given or --all-faces"),
    (r"""\bface=["'](detect|given)["']""", r"--face \1"),
    (r"""\bhead=["'](full|slim)["']""", r"--head \1"),
    (r"\b(all_faces|overwrite|strict|planned)=True\b", lambda found: f"--{found[1].replace('_', '-')}"),
    (r"\b(epsilon|delta|version|quantization)=(\S+) is ", r"--\1 \2 is "),
    (r"\b(permanent|slot|covers)=", r"--\1 "),
    (r"\bepsilon=(\S+), delta=([^\s;]+)", r"--epsilon \1 --delta \2"),
    (r"privzoo\.list_models\(\) lists all models", "privzoo list shows all"),
    (r"or pass (--\S+)", r"or give \1"),
)


SOME_SKIPPED, ALL_SKIPPED = 3, 2  # exit codes


def prepare_streams() -> None:
    """Makes standard output and error escape characters that their encoding lacks; called once, at the start."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def shown(text: str, stream: TextIO | None = None) -> str:
    """A text as one line of a terminal: control characters and those that the encoding lacks are escaped.

    Args:
        text: any, such as a file name.
        stream: where it goes; None: standard output.
    """
    stream = stream or sys.stdout
    line = texts.one_line(texts.decoded(text))
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return line.encode(encoding, "backslashreplace").decode(encoding)


def print_json(value: Any) -> None:
    """Prints JSON, always in UTF-8; bytes of names that are not UTF-8 are escaped as Python's surrogates."""
    text = texts.decoded(json.dumps(value, indent=1, ensure_ascii=False)) + "\n"
    content = text.encode("utf-8", "backslashreplace")  # JSON escapes a lone surrogate the same way
    if sys.stdout is None:  # closed by the caller
        return
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # others write their byte order mark, before this or at the end
    if not hasattr(sys.stdout, "buffer"):  # replaced by a text stream
        sys.stdout.write(content.decode("utf-8"))
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> None:
    """Prints a table, the first `left` columns aligned left and the rest right."""
    lines = [[shown(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))]
        print("  ".join(cells).rstrip())


def complain(sentence: str) -> None:
    """Writes one line to standard error."""
    if sys.stderr is not None:
        print(shown(f"privzoo: {sentence}", sys.stderr), file=sys.stderr)


def in_own_words(sentence: str) -> str:
    """An error's sentence for the command line: flags in place of Python's arguments."""
    for phrase, words in _WORDS:
        sentence = re.sub(phrase, words, sentence)
    return sentence


def face_cells(answer: Any) -> tuple[str, str, str]:
    """Which face a `Prediction`, or an answer of the demo, is about: number, score and rotation."""
    if answer.score is None:
        return "given", "-", "-"
    return f"{answer.number} of {answer.faces}", f"{answer.score:.2f}", f"{answer.rotation:.0f}\N{DEGREE SIGN}"


MANY = 10  # classes; of more, a table shows the likeliest ones only. Also the most attributes that it shows


def attributes_cell(probabilities: Mapping[str, float]) -> str:
    """The attributes that are present, the most likely first, with their probabilities."""
    found = outputs.ranked(probabilities)
    present = [f"{name} {value:.0%}" for name, value in found if value > outputs.PRESENT]
    if not present:
        name, value = found[0]
        return f"none; the most likely is {name} {value:.0%}"
    rest = f" and {len(present) - MANY} more" if len(present) > MANY else ""
    return ", ".join(present[:MANY]) + rest


def print_answers(
    answers: Sequence[Any],
    speech: bool,
    names: Sequence[str],
    more: Mapping[str, Sequence[str]] | None = None,
    output: outputs.Output = outputs.CLASS,
) -> None:
    """Prints the table of answers.

    Args:
        answers: `Prediction`s, or answers of the demo.
        speech: whether they are about recordings rather than faces.
        names: of the files, one for each answer.
        more: further columns, header -> cells.
        output: what the answers tell: of attributes, the table shows those that are present.
    """
    classes = list(answers[0].probabilities)
    attributes = output == outputs.ATTRIBUTES
    few = len(classes) <= MANY
    places = ("face", "score", "turned by")
    told = ("attributes",) if attributes else ("label", *(classes if few else ("probability", "second", "third")))
    header = ("recording" if speech else "image", *told)
    rows = []
    for i, (answer, name) in enumerate(zip(answers, names, strict=True)):
        best = sorted(classes, key=answer.probabilities.__getitem__, reverse=True)
        cells = [answer.label, *(f"{answer.probabilities[one]:.2%}" for one in (classes if few else best[:1]))]
        cells += [] if few else [f"{one} {answer.probabilities[one]:.2%}" for one in best[1:3]]
        cells = [attributes_cell(answer.probabilities)] if attributes else cells
        where = () if speech else face_cells(answer)
        rows.append((name, *cells, *where, *(column[i] for column in (more or {}).values())))
    print_table((*header, *(() if speech else places), *(more or {})), rows, left=2)


def identified_notes(cards: Sequence[Any]) -> Iterator[str]:
    """What a column of identification rates shows: among whom, and where it is a bound.

    Args:
        cards: of the models, `Card`s.
    """
    crowds = Counter(card.among() for card in cards if not card.network.own_data) or Counter([FACES])
    (most, _), *others = crowds.most_common()
    yield f"identified: identification rate of the strongest attack measured, among {most}; chance is {most.chance}."
    for crowd, _ in others:
        tasks = dict.fromkeys(card.network.task for card in cards if card.among() == crowd)
        yield f"For {' and '.join(tasks)}: among {crowd}; chance is {crowd.chance}."
    codes = [card for card in cards if card.model.code]
    if any(card.bound() < 1 for card in codes):
        yield "For codes: the bound that no attack on one answer can exceed."
    for card in codes:
        if card.bound() >= 1:
            yield f"For {card.model.name}: an attack, as no bound holds among {card.among()} at its epsilon."


def noise_note(noise: dict[str, Any]) -> str:
    """What was drawn for the answers above; `noise` comes from a mechanism's `drawn`."""
    from privzoo.mechanisms.budget import rounded_up

    if noise["kind"] == "mixing":
        return (
            f"Each answer comes from mixtures of {noise['group']} faces under a fresh key; another call may give "
            "another answer. Never rely on it: mixing is no encryption, and has no epsilon (privzoo show)."
        )
    epsilon = rounded_up(noise["epsilon"])
    if "slot" in noise:
        return (
            f"Each answer comes from one of {noise['k']} symbols, drawn once by randomized response and repeated for "
            f"the slot {noise['slot']!r}: epsilon {epsilon} at delta 0 for each different symbol. Repeated answers can "
            "be linked to each other."
        )
    if noise["kind"] == "randomized_response":
        return (
            f"Each answer comes from one of {noise['k']} symbols, freshly drawn by randomized response: epsilon "
            f"{epsilon} at delta 0 for each face or recording. Another call may give another answer, and spends as "
            "much again."
        )
    return (
        "Each answer comes from a feature with freshly drawn noise: standard deviation "
        f"{noise['sigma']:.3g}, epsilon {epsilon} at delta {noise['delta']:g} for each face or recording. Another "
        "call gives another answer, and spends as much again."
    )


def skipped_entry(one: Any) -> dict[str, str]:
    """JSON of a skipped photograph."""
    return {name: text if name == "image" else in_own_words(text) for name, text in one.to_dict().items()}


def tell_skipped(answers: Sequence[Any], skipped: Sequence[Any]) -> int:
    """Reports the photographs or recordings without an answer; returns the exit code."""
    for one in skipped:
        complain(f"{one.image}: {in_own_words(one.reason)}")
    if not skipped:
        return 0
    answered = len({answer.image for answer in answers})
    if answered or len(skipped) > 1:
        nouns = "recordings" if skipped[0].kind is AudioError else "photographs"
        complain(f"{len(skipped)} of {len(skipped) + answered} {nouns} got no answer.")
    return SOME_SKIPPED if answers else ALL_SKIPPED
