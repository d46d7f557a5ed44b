"""The whole path on one machine: photograph, head, socket, tail, answer; what `privzoo demo` shows."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import shutil
import tempfile
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import privzoo
from privzoo import audio, faces, inputs, weights, zoo
from privzoo.card import Card
from privzoo.config import DATAMIX, SPEECH, to_dict
from privzoo.errors import MissingExtraError, PrivzooError
from privzoo.faces import Skipped

if TYPE_CHECKING:
    from privzoo.edge import Client, Head, MixingClient, MixingHead

QUANTIZATION = "int8"


@dataclass(frozen=True)
class DemoAnswer:
    """The answer for one face or recording, and its cost."""

    image: str  # path
    face: dict[str, int] | None  # the chip's square in the photograph: x, y, size in pixels; None for speech
    number: int  # which of the photograph's faces it is, from 1
    faces: int  # how many faces were found in it; 1 for a given chip
    score: float | None  # confidence of the detector, 0 to 1; None for a given chip
    rotation: float | None  # degrees by which the face is rotated clockwise; None for a given chip
    label: str  # as of `Answer`
    probabilities: dict[str, float]  # class or attribute -> probability
    edge_ms: float  # in the head
    cloud_ms: float  # from sending the feature to having the answer
    bytes_sent: int  # body of the request
    image_bytes: int  # the photograph's or recording's file


@dataclass(frozen=True)
class Report:
    """What one run of the demo found."""

    model: str
    quantization: str  # of the head
    url: str  # of the server, which has stopped by now
    head_share: float  # share of the network's multiply-adds done by the device, 0..1
    feature_shape: tuple[int, ...]
    feature_bytes: int  # as float32
    chip_bytes: int  # of what is cut from it, uncompressed: a face chip at the network's input size, or a clip
    noise: dict[str, Any] | None  # what each feature got on the device, and its budget
    output: str  # what the answers tell: "class", or "attributes", each of which is present or not
    budget: str  # its epsilon, and what that means in words; empty without noise
    identity_attack: dict[str, Any] | None  # the strongest on such features, from the card; None: not measured
    answers: tuple[DemoAnswer, ...]
    skipped: tuple[Skipped, ...]  # unusable photographs

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**dataclasses.asdict(self), "skipped": [one.to_dict() for one in self.skipped]}


def run(
    images: Sequence[str | Path] | None,
    model: str,
    face: str = "detect",
    *,
    all_faces: bool = False,
    strict: bool = False,
) -> Report:
    """Exports a model, serves its tail on a free loopback port, and sends it photographs' features.

    Args:
        images: paths of photographs, or recordings; None for scikit-image's portrait, or a made-up word.
        model: name in the zoo.
        face: "detect" or "given", as in `SplitModel.predict`.
        all_faces: answer for every face in each photograph.
        strict: raise at the first photograph that cannot be used.

    Returns:
        The answers. The server has stopped by then, even if an error ends the demo.

    Raises:
        UnknownNameError: no such model.
        WeightsError: its weights are missing or damaged.
        ImageError: no image is readable and shows a face, or with `strict` one of them is not or does not.
        MissingExtraError: the packages of `privzoo[cloud]` are not installed.
    """
    from privzoo.serving import Server

    card = zoo.show(model)
    attack = card.identity_attack()
    faces.check_face(face, all_faces)
    with contextlib.ExitStack() as stack:
        speech = card.network.input == SPEECH
        paths = [str(path) for path in images or [_word(stack) if speech else _portrait()]]
        folder = _artefacts(card, stack)
        head = _head(card, folder / "head.tflite")
        # Finds unusable photographs before starting the server, which takes seconds.
        chips, usable, skipped = head.prepare(paths, face, bulk=not strict, all_faces=all_faces)
        inputs.require(list(usable), skipped, head.input)
        unusable = {one.image for one in skipped}
        paths = [path for path in paths if path not in unusable]
        server = stack.enter_context(Server(folder / model, model))
        client = _client(head, server.url, len(usable) + 1)
        stack.callback(client.close)
        client.predict(paths[0], face)  # on the first request TensorFlow builds its graph
        found = [answer for path in paths for answer in client.predict(path, face, all_faces=all_faces)]
        url = server.url
    return Report(
        model=model,
        quantization=QUANTIZATION,
        url=url,
        head_share=card.cost.head_share,
        feature_shape=card.cost.feature_shape,
        feature_bytes=card.cost.feature_bytes,
        chip_bytes=chips[0].nbytes,
        noise=_drawn(head),
        output=card.network.output,
        budget=card.budget(),
        identity_attack=to_dict(attack) if attack else None,
        answers=tuple(
            DemoAnswer(
                image=answer.image,
                face={"x": box.x, "y": box.y, "size": box.size} if (box := answer.face) else None,
                number=answer.number,
                faces=answer.faces,
                score=answer.score,
                rotation=answer.rotation,
                label=answer.label,
                probabilities=answer.probabilities,
                edge_ms=answer.edge_ms,
                cloud_ms=answer.cloud_ms,
                bytes_sent=answer.bytes_sent,
                image_bytes=os.path.getsize(answer.image),
            )
            for answer in found
        ),
        skipped=tuple(skipped),
    )


def _word(stack: contextlib.ExitStack) -> str:
    """A WAV file of sounds like a word."""
    from privzoo.audio.synthesis import words

    path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="privzoo-"))) / "word.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, audio.RATE, audio.SAMPLES, "NONE", ""))
        file.writeframes(words(1)[0].astype("<i2").tobytes())
    return str(path)


def _head(card: Card, path: Path) -> Head | MixingHead:
    from privzoo.edge import Head, MixingHead

    return MixingHead(path) if card.model.embedding == DATAMIX else Head(path)


def _client(head: Head | MixingHead, url: str, requests: int) -> Client | MixingClient:
    """A client; a DataMix model's has the package's chips as covers for so many requests."""
    from privzoo.edge import Client, MixingClient, MixingHead

    if not isinstance(head, MixingHead):
        return Client(head, url)
    from privzoo.export.calibration import default_calibration
    from privzoo.mechanisms.covers import Covers

    return MixingClient(head, url, Covers(default_calibration(head.input_size, requests * head.group)))


def _drawn(head: Head | MixingHead) -> dict[str, Any] | None:
    from privzoo.edge import MixingHead

    source = head.mixing if isinstance(head, MixingHead) else head.noise
    return source.drawn() if source else None


def _portrait() -> str:
    try:
        import skimage.data
    except ImportError:
        raise MissingExtraError(
            "The demo needs the packages of both sides; install them with: pip install 'privzoo[cloud]'."
        ) from None
    return str(Path(skimage.data.__file__).with_name("astronaut.png"))


def cache_entry(card: Card) -> Path:
    """The cache folder of an exported model; it depends on weights, configs and privzoo's version."""
    key = hashlib.sha256(repr((privzoo.__version__, card.model, card.network)).encode()).hexdigest()[:12]
    return weights.cache_folder() / "demo" / f"{card.model.name}-{key}"


def _artefacts(card: Card, stack: contextlib.ExitStack) -> Path:
    """A folder with `head.tflite` and `<model>/<version>/`, from the cache if this model was exported before."""
    folder = cache_entry(card)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder.parent, prefix=".export-")))
    except OSError:  # the home folder is not writable: no cache then
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="privzoo-")))
        return _export(card.model.name, temporary)
    if not _usable(folder):
        shutil.rmtree(folder, ignore_errors=True)
        exported = _export(card.model.name, temporary / "pair")
        with contextlib.suppress(OSError):  # another demo may have done the same in the meantime
            exported.rename(folder)
    return folder


def _usable(folder: Path) -> bool:
    from privzoo.edge import read_manifest

    try:
        return bool(read_manifest(folder / "head.tflite"))
    except PrivzooError:
        return False


def _export(name: str, folder: Path) -> Path:
    model = zoo.load(name)
    folder.mkdir(exist_ok=True)
    model.export_tail(folder)
    model.export_head(folder / "head.tflite", QUANTIZATION)
    return folder
