"""The command line: `privzoo list`, `show`, `predict`, `export`, `serve`, `demo`."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import privzoo
from privzoo import card_text, checks, console, serving
from privzoo.errors import ConfigError, InputError, PrivzooError, RenamedWarning
from privzoo.mechanisms.budget import rounded_up

# What a shell reports for a command ended by the user, or by a closed pipe: 128 + the signal's number.
INTERRUPTED, BROKEN_PIPE = 130, 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: what follows `privzoo`; by default the process's own.

    Returns:
        Exit code: 0; 1 for a bug in privzoo, 2 for what the user can fix, 3 if some photographs were answered and
        others skipped, 130 after Ctrl-C.
    """
    console.prepare_streams()
    options = _parser().parse_args(arguments)
    try:
        with contextlib.ExitStack() as quiet:
            for manager in () if options.verbose else (_own_warnings, _quiet):
                quiet.enter_context(manager())
            code = options.run(options) or 0
            if sys.stdout is not None:
                sys.stdout.flush()  # a closed pipe raises here
        return code
    except BrokenPipeError:
        _give_up_output()
        return BROKEN_PIPE
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        if options.verbose:
            raise
        return _report(error)


def _give_up_output() -> None:
    # Python flushes standard output again on exit, and would complain and exit with its own code.
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report(error: Exception) -> int:
    if isinstance(error, PrivzooError):
        console.complain(console.in_own_words(str(error)))
        return 2
    if isinstance(error, OSError) and error.strerror:
        if error.filename is None:
            _give_up_output()
        console.complain(f"{os.fsdecode(error.filename or 'output')}: {error.strerror}.")
        return 2
    reason = next(iter(str(error).splitlines()), "")
    console.complain(
        f"this is a bug in privzoo, please report it ({type(error).__name__}: {reason}); "
        "privzoo --verbose ... shows the traceback."
    )
    return 1


@contextlib.contextmanager
def _own_warnings() -> Iterator[None]:
    """Shows privzoo's own user warnings as one line each, and no others."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", RenamedWarning)
        warnings.showwarning = lambda message, *_: console.complain(str(message))
        yield


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Lets only privzoo write to standard error: TensorFlow and LiteRT log there from C++, bypassing Python."""
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    try:
        attached = sys.stderr.fileno() == 2
    except (AttributeError, OSError, ValueError):  # closed by the caller, or replaced by a stream without a file
        attached = False
    if not attached:
        yield
        return
    sys.stderr.flush()
    own, sink, before = os.dup(2), os.open(os.devnull, os.O_WRONLY), sys.stderr
    os.dup2(sink, 2)
    os.close(sink)
    sys.stderr = os.fdopen(own, "w", buffering=1, encoding=before.encoding, errors=before.errors, closefd=False)
    try:
        yield
    finally:
        sys.stderr.flush()
        sys.stderr = before
        os.dup2(own, 2)
        os.close(own)


def _list(options: argparse.Namespace) -> None:
    if options.planned:
        _list_planned(options)
        return
    cards = [privzoo.show(name) for name in privzoo.list_models(options.pattern)]
    if options.json:
        console.print_json([card.to_dict() for card in cards])
        return
    if not cards:
        waiting = bool(privzoo.list_models(options.pattern, planned=True))
        hint = "privzoo list --planned shows those whose weights are missing" if waiting else "privzoo list shows all"
        console.complain(f"no model matches {options.pattern!r}; {hint}.")
        return
    columns = ("model", "task", "embedding", "cut", "feature", "bytes", "on device", "accuracy", "balanced")
    header = (*columns, "identified", "epsilon")
    rows = []
    for card in cards:
        epsilon = card.epsilon()
        rows.append(
            (
                card.model.name,
                card.network.task,
                card.model.embedding,
                card.model.cut,
                card.feature(),
                f"{card.cost.feature_bytes:,}",
                f"{card.cost.head_share:.1%}",
                *(f"{figure.value:.1%}" if figure else "not measured" for figure in card.told()),
                card.identified(),
                rounded_up(epsilon) if epsilon else "no noise",
            )
        )
    console.print_table(header, rows, left=4)
    print()
    for line in console.identified_notes(cards):
        print(line)
    if any(card.network.own_data for card in cards):
        print("For networks trained on your own data: among its people; the card has chance (privzoo show).")
    # An accuracy means little without that of an answer that ignores the face.
    for task, one in {card.network.task: card.one_answer() for card in cards}.items():
        if one:
            print(f"accuracy, {task}: {one.variant} would get {one.value:.1%} on {card_text.data_name(one.data)}.")
    print("balanced: mean over the classes, so that larger classes do not count more.")
    print(f"Accuracy and balanced accuracy are those {card_text.TOLD}.")
    budgets: dict[str, list[str]] = {}
    for card in cards:
        budgets.setdefault(card.budget(), []).append(card.model.name)
    for said, names in budgets.items():
        if said:
            print(f"{', '.join(names)}: {said}")


def _list_planned(options: argparse.Namespace) -> None:
    from privzoo import zoo

    planned = [*zoo.planned_models(options.pattern), *zoo.planned_networks(options.pattern)]
    if options.json:
        console.print_json([dataclasses.asdict(model) for model in planned])
    elif planned:
        header = tuple(field.name for field in dataclasses.fields(zoo.Planned))
        rows = [["-" if cell is None else cell for cell in dataclasses.astuple(one)] for one in planned]
        console.print_table(header, rows, left=len(header))
    else:
        console.complain(f"nothing that matches {options.pattern!r} lacks its weights; privzoo list shows all.")


def _show(options: argparse.Namespace) -> None:
    card = privzoo.show(options.name, options.head)
    if options.json:
        console.print_json(card.to_dict())
    else:
        print(card)


def _predict(options: argparse.Namespace) -> int:
    from privzoo import faces, inputs

    faces.check_face(options.face, options.all_faces)  # before loading, which takes seconds
    model = privzoo.load(options.name, options.epsilon, options.delta, options.head, options.permanent, options.covers)
    noise = model.drawn(options.slot)
    try:
        answers = model.explain(
            options.images, options.face, all_faces=options.all_faces, strict=options.strict, slot=options.slot
        )
    except InputError as error:
        if not error.skipped:
            raise
        answers = faces.Answers(skipped=error.skipped)  # reports each; the error is about the first only
    if options.json:
        console.print_json(
            {
                "answers": [dataclasses.asdict(answer) for answer in answers],
                "skipped": [console.skipped_entry(one) for one in answers.skipped],
                "noise": noise if answers else None,  # where nothing was answered, nothing was drawn
            }
        )
    elif answers:
        speech = isinstance(model.input, inputs.Speech)
        console.print_answers(answers, speech, [a.image for a in answers], output=model.output)
        if noise:
            print(f"\n{console.noise_note(noise)}")
    return console.tell_skipped(answers, answers.skipped)


def _export(options: argparse.Namespace) -> None:
    from privzoo.export.manifests import QUANTIZATIONS

    if options.quantization not in QUANTIZATIONS:  # before loading, which takes seconds
        raise ConfigError(f"There is no quantization {options.quantization!r}; use one of {', '.join(QUANTIZATIONS)}.")
    out = checks.local_path(options.out)
    model = privzoo.load(options.name, head=options.head)
    out.mkdir(parents=True, exist_ok=True)
    written = {"model": model.name}
    if not options.head_only:
        written["tail"] = str(model.export_tail(out, options.version, options.overwrite))
    if not options.tail_only:
        head = out / f"{model.card.artefact}_{options.quantization}.tflite"
        model.export_head(head, options.quantization, options.calibration)
        written |= {"head": str(head), "quantization": options.quantization}
    if options.json:
        console.print_json(written)
        return
    if "head" in written:
        print(f"head for the device: {written['head']}")
    if "tail" in written:
        base = (out / model.name).resolve()
        print(f"tail for the cloud:  {written['tail']}")
        print(f"serve it with:       privzoo serve --model_name {model.name} --model_base_path {base}")


def _serve(options: argparse.Namespace) -> None:
    serving.main(options)


def _demo(options: argparse.Namespace) -> int:
    from privzoo import demo

    try:
        report = demo.run(
            options.image, options.model, options.face, all_faces=options.all_faces, strict=options.strict
        )
    except InputError as error:
        if not error.skipped:
            raise
        if options.json:
            skipped = [console.skipped_entry(one) for one in error.skipped]
            console.print_json({"model": options.model, "answers": [], "skipped": skipped})
        return console.tell_skipped((), error.skipped)
    if options.json:
        console.print_json({**report.to_dict(), "skipped": [console.skipped_entry(one) for one in report.skipped]})
    else:
        _print_demo(report)
    return console.tell_skipped(report.answers, report.skipped)


def _print_demo(report: Any) -> None:
    print(
        f"{report.model}: the {report.quantization} head ran in this process, the tail in a server on {report.url}.\n"
    )
    speech = report.answers[0].face is None
    one, chip, kind = ("recording", "clip", "recording") if speech else ("face", "face chip", "image")
    costs = {
        "edge ms": [f"{a.edge_ms:.1f}" for a in report.answers],
        "cloud ms": [f"{a.cloud_ms:.1f}" for a in report.answers],
        "bytes sent": [f"{a.bytes_sent:,}" for a in report.answers],
        f"{kind} file": [f"{a.image_bytes:,}" for a in report.answers],
    }
    console.print_answers(report.answers, speech, [Path(a.image).name for a in report.answers], costs, report.output)
    print(
        f"\nThe device did {report.head_share:.1%} of the multiply-adds. Per {one} it sent {_sent(report)}, as JSON; "
        f"the raw {chip} has {report.chip_bytes:,} bytes."
    )
    if (attack := report.identity_attack) is not None:
        card = privzoo.show(report.model)
        among, own = card.among(), card.network.own_data
        people, chance = ("known people", "the card has chance") if own else (among, f"chance is {among.chance}")
        many = re.search(r"(\d+) queries", attack["variant"])
        seen = f"{many[1]} features of each {one}" if many else "such a feature"
        print(
            f"From {seen}, the strongest attack measured identified {attack['value']:.1%} of the {one}s among "
            f"{people} ({attack['low']:.1%} to {attack['high']:.1%}); {chance}. See privzoo show {report.model}."
        )
    if report.budget:
        print(f"Each {one} spends a privacy budget of {report.budget}.")


def _sent(report: Any) -> str:
    if report.noise and report.noise["kind"] == "mixing":
        return (
            f"mixtures of {report.noise['group']} features of {report.feature_bytes:,} bytes, its own and those of "
            "covers, as int16"
        )
    if report.noise and "k" in report.noise:
        return f"one of {report.noise['k']} symbols, drawn on the device by randomized response, with its epsilon"
    noise = ", with noise drawn on the device" if report.noise else ""
    return f"a feature of {report.feature_bytes:,} bytes{noise}"


class _Refused(argparse.Action):
    """A flag that users look for but that must not exist: its help and its error say why."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, **options)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        parser.error(
            f"{self.option_strings[0]} is refused: only noise guarantees the model's epsilon, and a feature "
            "without it can identify the person; choose a model without noise (privzoo list), or give predict a "
            "larger --epsilon, which draws less noise"
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="privzoo", description="A model zoo for private split inference on faces and speech.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"privzoo {privzoo.__version__}")
    verbose = "show tracebacks and what TensorFlow and LiteRT log"
    parser.add_argument("--verbose", action="store_true", help=verbose)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, run: Any, summary: str, data: bool = True) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        sub.set_defaults(run=run)
        sub.add_argument("--verbose", action="store_true", default=argparse.SUPPRESS, help=verbose)
        if data:
            sub.add_argument("--json", action="store_true", help="print JSON")
        return sub

    def face(sub: argparse.ArgumentParser) -> None:
        sub.add_argument(
            "--face",
            choices=("detect", "given"),
            default="detect",
            help="detect: find the largest face in each image; given: each image already is a face chip",
        )

        sub.add_argument("--all-faces", action="store_true", help="answer for every face, small ones too (slower)")
        sub.add_argument("--strict", action="store_true", help="stop at the first file that cannot be used")
        sub.add_argument("--no-noise", action=_Refused, help="refused: the noise guarantees the model's epsilon")

    def head(sub: argparse.ArgumentParser) -> None:
        sub.add_argument(
            "--head",
            choices=("full", "slim"),
            default="full",
            help="slim: a cheaper head for the same tail, if the model has one",
        )

    sub = command("list", _list, "list the models with their cost and accuracy")
    sub.add_argument("pattern", nargs="?", default="*", metavar="PATTERN", help="shell pattern, e.g. 'vgg16_gender_*'")
    sub.add_argument(
        "--planned",
        action="store_true",
        help="list models and networks without weights instead, and what each one lacks",
    )
    sub = command("show", _show, "print a model's card")
    sub.add_argument("name", metavar="NAME", help="a model of `privzoo list`")
    head(sub)
    sub = command("predict", _predict, "classify faces or spoken words, with head and tail both on this machine")
    sub.add_argument("name", metavar="NAME", help="a model of `privzoo list`")
    sub.add_argument("images", nargs="+", metavar="FILE", help="photographs, or recordings for a model of speech")
    face(sub)
    sub.add_argument(
        "--epsilon",
        type=float,
        metavar="E",
        help="budget per face or recording, for models with noise or a code; default: the model's own",
    )
    sub.add_argument(
        "--delta", type=float, metavar="D", help="delta of that budget (default: 1e-05); not for codes: theirs is 0"
    )
    sub.add_argument("--permanent", metavar="FILE", help="this device's secret, for repeating a code's answers")
    sub.add_argument("--slot", metavar="NAME", help="for whom or what to repeat them: a person, a day")
    sub.add_argument(
        "--covers", metavar="DIR", help="photographs of other people, that a DataMix model mixes faces with, each once"
    )
    head(sub)
    sub = command("export", _export, "write the head for the device and the tail for the cloud")
    sub.add_argument("name", metavar="NAME", help="a model of `privzoo list`")
    sub.add_argument("--out", required=True, metavar="DIR", help="folder to write to")
    sub.add_argument(
        "--quantization",
        default="int8",
        metavar="KIND",
        help="quantization of the head: float32, float16, dynamic, int8 (default)",
    )
    sub.add_argument(
        "--calibration",
        nargs="+",
        metavar="IMAGE",
        help="photographs of faces, or recordings, like those the int8 head will see",
    )
    sub.add_argument("--version", type=int, metavar="N", help="tail version on the server; default: the model's own")
    sub.add_argument("--overwrite", action="store_true", help="replace that version of the tail if it exists")
    head(sub)
    half = sub.add_mutually_exclusive_group()
    half.add_argument("--head-only", action="store_true", help="write no tail")
    half.add_argument("--tail-only", action="store_true", help="write no head")
    serving.add_flags(
        command("serve", _serve, "serve a tail, or any SavedModel, by TF Serving's REST protocol", data=False)
    )
    sub = command("demo", _demo, "send a face or word through head, network and tail, on this machine")
    sub.add_argument(
        "--image",
        nargs="+",
        metavar="FILE",
        help="photographs or recordings; default: scikit-image's portrait, or a word",
    )
    sub.add_argument("--model", default="vgg16_gender_coded_conv5_3", metavar="NAME", help="default: %(default)s")
    face(sub)
    return parser
