"""The frozen dataclasses that describe networks and models, and their YAML files in `zoo_configs/`."""

from __future__ import annotations

import difflib
import functools
import math
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from privzoo.errors import ConfigError, RenamedWarning, UnknownNameError
from privzoo.files import data_folder
from privzoo.outputs import ATTRIBUTES, CLASS

# Also under this module's name, for those who read a config and its entries.
from privzoo.plain import from_dict as from_dict
from privzoo.plain import given as given
from privzoo.plain import read as read
from privzoo.plain import to_dict as to_dict
from privzoo.plain import to_plain as to_plain
from privzoo.plain import write as write

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")
DATAMIX = "datamix"  # the embedding that sends mixtures of several faces' features
OBFUSCATED = "obfuscated"  # the embedding that sends an image
LABEL = "label"  # the embedding that leaves no part of the network to the cloud
FULL, SLIM = HEADS = ("full", "slim")  # heads for the same tail
FACE: Literal["face"] = "face"  # what networks take
SPEECH: Literal["speech"] = "speech"


@dataclass(frozen=True)
class ReleasedFile:
    """A file that was released under a hash."""

    file: str  # name in its folder of the checkout or wheel, in the cache and at the mirror
    sha256: str  # of the file, 64 hex digits
    bytes: int  # of the file


@dataclass(frozen=True)
class WeightsFile(ReleasedFile):
    """A released weights file, of `zoo_configs/weights`."""

    kernels_in: ReleasedFile | None = None  # head of `tflite/` in which some of its kernels lie, stored only there


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a training chip."""

    minimum_crop: float = 0.72  # smallest square crop, as a share of the side
    flip: bool = True  # left to right, with probability 1/2
    grey: float = 0.4  # probability of a greyscale image
    contrast: float = 0.3  # factor drawn from 1 -+ this, around the image's mean
    brightness: float = 25.0  # grey levels drawn from -+ this


@dataclass(frozen=True)
class SpeechAugmentation:
    """Random changes of a training clip and of its spectrogram."""

    speed: float = 0.12  # factor drawn from 1 -+ this; pitch changes with it
    shift: float = 0.1  # seconds drawn from -+ this
    noise: float = 0.5  # probability of white or pink noise
    ratio: tuple[float, ...] = (5.0, 40.0)  # decibels of the clip above its noise, drawn from this range
    masks: int = 1  # blank stretches along each axis (SpecAugment, Park et al. 2019)
    longest_mask: tuple[int, ...] = (16, 12)  # windows of 10 ms, bands: each stretch is drawn from 0 to this


@dataclass(frozen=True)
class Stage:
    """Some epochs at one image size; several stages make training progressive."""

    input_size: int | None  # pixels; None for speech, whose spectrograms have one size
    epochs: int


@dataclass(frozen=True)
class CampaignConfig:
    """What a campaign on an accelerator does beyond the other recipes (`privzoo.training.campaign`)."""

    also: tuple[str, ...] = ()  # further data sets with the task's label; other labels that they lack are left out
    balanced: tuple[str, ...] = ()  # labels; a group of them is drawn with the root of its share of the images
    rotation: float = 0.0  # degrees drawn from -+ this
    erasing: float = 0.0  # probability that a rectangle of 2 to 25 % of the image is blank
    mixup: float = 0.0  # both parameters of the beta distribution of an image's share in a mixture; 0: no mixtures
    teachers: tuple[int, ...] = ()  # seeds of networks of the same recipe that are trained first and teach this one
    taught_by: str | None = None  # network of the same campaign whose teachers teach this one too; None: its own do
    distillation: float = 0.0  # weight of the teachers' mean answer in the loss; the labels have the rest
    temperature: float = 2.0  # of both answers

    def __post_init__(self) -> None:
        """Raises ConfigError for settings that make no sense."""
        for name in ("rotation", "erasing", "mixup", "distillation"):
            if not 0 <= (value := getattr(self, name)) < math.inf:
                raise ConfigError(f"{name}={value} of a campaign is invalid; give 0 or more.")
        if self.erasing > 1 or self.distillation > 1 or not 0 < self.temperature < math.inf:
            raise ConfigError(
                f"A campaign with erasing {self.erasing}, distillation {self.distillation} and temperature "
                f"{self.temperature} is invalid; give at most 1, at most 1, and above 0."
            )
        if self.distillation and not self.teachers and self.taught_by is None:
            raise ConfigError("A campaign with distillation needs teachers; give their seeds, or leave it out.")


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that, with the data, the code and the seed, determines a training run."""

    dataset: str  # module of privzoo.data
    stages: tuple[Stage, ...]
    start: str | None = None  # file of start weights, looked up in --init_dir; None: He initialisation
    frozen: str | None = None  # layers up to this one keep their start weights
    auxiliary: dict[str, float] = field(default_factory=dict)  # further labels to learn -> weight of their loss
    chip_size: int | None = None  # pixels to which chips are resized in memory; None: the stored size, one for all
    batch_size: int = 64
    peak_learning_rate: float = 0.1
    warm_up: float = 0.15  # share of the steps in which the rate rises to its peak; then a cosine to zero
    momentum: float = 0.9  # Nesterov
    weight_decay: float = 5e-4  # of kernels
    clip_norm: float = 5.0  # of the whole gradient
    dropout: float = 0.3
    label_smoothing: float = 0.0
    precision: str = "mixed_bfloat16"  # a Keras dtype policy
    augmentation: Augmentation = Augmentation()
    speech: SpeechAugmentation | None = None  # of a network that takes speech, in place of `augmentation`
    campaign: CampaignConfig | None = None  # None: trained by tools/train.py
    seed: int = 1

    @property
    def changes(self) -> Augmentation | SpeechAugmentation:
        """Random changes of what it is trained on."""
        return self.speech or self.augmentation


@dataclass(frozen=True)
class SiameseConfig:
    """Siamese fine-tuning of the parent network (Osia et al. 2017, section III.A); `TrainingConfig` has the rest."""

    cut: str  # layer whose output the pair loss acts on
    trained_from: str  # first layer that is trained; those before it stay the parent's
    margin: float = 10.0  # of equation 1, in units of the scaled feature
    contrastive: float = 1.0  # weight of equation 1; the classification loss has 1
    feature_unit: float | None = 10.0  # features are multiplied by this / sqrt(their number); None: taken raw
    similar: float = 0.5  # share of similar pairs
    within: float = 0.0  # weight of the variance within classes over all variance
    information: float = 0.0  # weight of what a feature with noise can reveal besides its class, in nats
    information_noise: float = 0.1  # standard deviation of that noise on each scaled value
    classifier_multiplier: float = 10.0  # of the classifier's learning rate
    copies: int = 4  # augmented versions of each chip, of which every epoch uses one


@dataclass(frozen=True)
class MixingConfig:
    """DataMix (Liu et al. 2020): which part of a network sees mixtures, and how its groups are mixed."""

    blocks: int  # of convolution that run on the device: each one convolution with its ReLU, and the pool after it
    group: int = 8  # features mixed together
    coefficients: Literal["orthogonal", "gaussian", "dirichlet"] = "orthogonal"  # `mechanisms.mixing.draw`
    # Share of the training steps in which orthogonal coefficients go from single faces of either sign to any mixture;
    # 0: any mixture from the first step, as published.
    easing: float = 0.0

    def __post_init__(self) -> None:
        """Raises ConfigError for what cannot be mixed."""
        if self.blocks < 1 or self.group < 2:
            raise ConfigError(
                f"{self.blocks} blocks and groups of {self.group} cannot be mixed; give 1 block or more, and groups "
                "of 2 or more."
            )
        if not 0 <= self.easing <= 1 or (self.easing and self.coefficients != "orthogonal"):
            raise ConfigError(
                f"easing={self.easing} with {self.coefficients} coefficients is invalid; give 0 to 1, and 0 unless "
                "they are orthogonal."
            )


@dataclass(frozen=True)
class ObfuscationConfig:
    """An obfuscator in front of a network, its parent, which stays as it is (Leroux et al. 2018).

    The obfuscator minimises L_c + weight * max(0, 1 - L_r), the deobfuscator L_r: the squared error of what it
    rebuilds, as a share of that of the mean image.
    """

    width: float = 1.0  # of the obfuscator's channels, as a share of Table 4's
    also: tuple[str, ...] = ()  # further networks of the same task that must read the image; L_c is the mean over all
    weight: float = 1.0  # of the reconstruction loss; the classification loss has 1
    # Layers of the parent, such as conv2_2, whose outputs count in L_r beside the pixels, which have weight 1.
    perceptual: dict[str, float] = field(default_factory=dict)
    decoder_width: float = 1.0  # of the deobfuscator's channels
    decoder_rate: float = 1e-3  # constant learning rate of the deobfuscator; `peak_learning_rate` is the obfuscator's
    decoder_steps: int = 3  # of the deobfuscator for each of the obfuscator's, on its last so many batches
    restart: int = 0  # epochs after which a fresh deobfuscator takes over; 0: never
    catch_up: int = 100  # steps that a fresh deobfuscator learns alone

    def __post_init__(self) -> None:
        """Raises ConfigError for settings that make no sense."""
        for name in ("width", "weight", "decoder_width", "decoder_rate"):
            if not 0 < (value := getattr(self, name)) < math.inf:
                raise ConfigError(f"{name}={value} of an obfuscation is invalid; give a number above 0.")
        if self.decoder_steps < 1 or self.restart < 0 or self.catch_up < 0:
            raise ConfigError(
                f"An obfuscation with {self.decoder_steps} decoder steps, restarts after {self.restart} epochs and "
                f"{self.catch_up} steps to catch up is invalid; give 1 step or more, and no negative number."
            )
        if wrong := [name for name, weight in self.perceptual.items() if not 0 < weight < math.inf]:
            raise ConfigError(f"The perceptual weight of {wrong[0]} is invalid; give a number above 0.")


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """One trained network with all its weights."""

    name: str
    architecture: str  # "vgg16", "vgg_s" or "resnet18"
    task: str  # the primary label: "gender", "emotion", "keyword", or any name for the user's own data
    classes: tuple[str, ...]  # in the order of the output
    output: Literal["class", "attributes"] = CLASS  # one of the classes; or each of them is present or not
    input: Literal["face", "speech"] = FACE  # a face chip, or the spectrogram of a second of speech
    input_size: int | None = None  # side of the face chip in pixels; None for speech
    training: TrainingConfig
    description: str  # one sentence
    licence: str
    classifier: tuple[int, ...] = ()  # widths of fc6 and fc7; empty: average pooling and fc8 alone
    lrn: bool = False  # VGG-S's local response norm
    parent: str | None = None  # network whose layers are omitted from this one's file if equal
    siamese: SiameseConfig | None = None  # how it was made from its parent; None: not on pairs
    mixing: MixingConfig | None = None  # of mixing-aware training from its parent; None: it never saw mixtures
    obfuscation: ObfuscationConfig | None = None  # of the obfuscator in front of its parent; None: there is none
    coding: Literal["int8", "int5"] = "int8"  # of its kernels in the weights file; int5 is a third smaller
    weights: WeightsFile | None = None  # None until released

    def __post_init__(self) -> None:
        """Raises ConfigError for a network that was to be made in two ways, or a size that does not fit the input."""
        if len(ways := [way for way in ("siamese", "mixing", "obfuscation") if getattr(self, way)]) > 1:
            raise ConfigError(f"{self.name} has both {' and '.join(ways)}; a network is fine-tuned in one of the ways.")
        if self.siamese and self.output == ATTRIBUTES:
            raise ConfigError(f"{self.name} has attributes, and siamese needs one class for each face; leave it out.")
        if len(set(self.classes)) < len(self.classes):
            raise ConfigError(f"{self.name} names one of its classes twice; give each name once.")
        if (self.input_size is None) != (self.input == SPEECH) or (self.training.speech is None) != (
            self.input == FACE
        ):
            raise ConfigError(
                f"{self.name} takes a {self.input} input: for faces give input_size, for speech training.speech, and "
                "not the other."
            )

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the input: of an RGB chip, or frames, bands and 1 of a spectrogram."""
        if self.input == SPEECH:
            from privzoo import audio

            return audio.SHAPE
        return (self.chip_side, self.chip_side, 3)

    @property
    def chip_side(self) -> int:
        """Side of the face chip in pixels.

        Raises:
            ConfigError: the network takes speech.
        """
        if self.input_size is None:
            raise ConfigError(f"{self.name} takes speech, not faces; give it recordings.")
        return self.input_size

    @property
    def own_data(self) -> bool:
        """Whether it is trained on the user's own images rather than on a public data set."""
        return self.training.dataset == "folder"


@dataclass(frozen=True)
class NoiseConfig:
    """Gaussian noise that the device adds to a reduced feature (Osia et al. 2017, section III.C).

    Both lengths are in units of the scaled reduced feature; see `ModelConfig.relevance`.
    """

    sigma: float  # standard deviation of the noise on each component
    clip: float  # radius of the ball to which a feature is clipped before the noise

    def __post_init__(self) -> None:
        """Raises ConfigError for invalid noise."""
        if not (0 < self.sigma < math.inf and 0 < self.clip < math.inf):
            raise ConfigError(f"Noise of sigma {self.sigma} on radius {self.clip} is invalid; give numbers above 0.")


@dataclass(frozen=True)
class CodeConfig:
    """A reduced feature that becomes one of k symbols on the device, sent by randomized response."""

    # Model of the same network and cut, whose reduced feature it is, without that model's noise; None: the symbol is
    # the class that the network itself predicts, for the baseline `label`.
    base: str | None
    epsilon: float  # budget of one answer unless the user sets another; the code is fitted to it
    symbols: int | None = None  # k; None until fitted
    faces: int = 4000  # training faces that it is fitted on, evenly spaced

    def __post_init__(self) -> None:
        """Raises ConfigError for an invalid code."""
        if not 0 < self.epsilon < math.inf or self.faces < 1 or (self.symbols is not None and self.symbols < 2):
            raise ConfigError(
                f"A code of {self.symbols} symbols at epsilon {self.epsilon} on {self.faces} faces is invalid; give "
                "2 symbols or more, a budget above 0 and some faces."
            )


@dataclass(frozen=True)
class SlimConfig:
    """A second head of a model, for the same tail: the network with fewer channels, distilled from the first."""

    channels: dict[str, int]  # convolution up to the cut -> its output channels
    weights: WeightsFile

    def __post_init__(self) -> None:
        """Raises ConfigError for invalid channels."""
        if any(count < 1 for count in self.channels.values()):
            raise ConfigError(f"A slim head cannot have {self.channels} channels; give every layer 1 or more.")


@dataclass(frozen=True)
class ModelConfig:
    """A registry entry: a network, a cut and an embedding."""

    name: str
    network: str
    cut: str
    embedding: str
    version: int = 1  # of the pair of head and tail
    dimensions: int | None = None  # numbers in a reduced feature; None: the cut's activation is the feature
    reduction: Literal["pca", "autoencoder"] = "pca"  # how the reduced feature was found
    # Components of a reduced feature have standard deviation 1 on training data, times
    # (share of their variance that the classes explain) ** (relevance / 2): 0 keeps all equal, more hides what says
    # little about the class in noise or rounding.
    relevance: float = 0.0
    step: float | None = None  # features are sent as multiples of this; None: unrounded
    refit: bool = False  # fc8 is refitted on what the tail receives: the reduced feature with its noise
    noise: NoiseConfig | None = None
    code: CodeConfig | None = None
    weights: WeightsFile | None = None  # the embedding's own arrays; None until released, or without any
    slim: SlimConfig | None = None  # None until there is one; a coded model's is its base's

    def __post_init__(self) -> None:
        """Raises ConfigError for an invalid reduction."""
        reduced = self.dimensions is not None
        if (self.dimensions is not None and self.dimensions < 1) or (not reduced and (self.noise or self.refit)):
            raise ConfigError(f"{self.name} has dimensions {self.dimensions}; a reduced feature needs 1 or more.")
        if not 0 <= self.relevance < math.inf or (self.step is not None and not 0 < self.step < math.inf):
            raise ConfigError(f"{self.name} has relevance {self.relevance}, step {self.step}; give numbers above 0.")
        if self.code and (not reduced or self.noise or self.step is not None or self.refit):
            raise ConfigError(f"{self.name} has a code; it needs dimensions, and excludes noise, a step or a refit.")
        if self.noise and self.step is not None:
            raise ConfigError(f"{self.name} has noise and a step; noise hides what rounding would: drop the step.")


@dataclass(frozen=True)
class Renamed:
    """What earlier releases called networks and models: old name -> current name."""

    networks: dict[str, str]
    models: dict[str, str]


def config_folder() -> Path:
    """Folder `zoo_configs`: inside the package in a wheel, next to it in a checkout or an editable install."""
    return data_folder("zoo_configs", "networks")


def heads_folder() -> Path:
    """Folder `tflite` with the released heads, likewise."""
    return data_folder("tflite", "manifest.json")


@functools.cache
def networks() -> dict[str, Path]:
    """Name -> YAML file of every network."""
    return {path.stem: path for path in sorted((config_folder() / "networks").glob("*.yaml"))}


@functools.cache
def models() -> dict[str, Path]:
    """Name -> YAML file of every model."""
    return {path.stem: path for path in sorted((config_folder() / "models").glob("*.yaml"))}


@functools.cache
def renamed(kind: str) -> dict[str, str]:
    """Old name -> current name, from `zoo_configs/renamed.yaml`.

    Args:
        kind: "networks" or "models".

    Raises:
        ConfigError: the file is damaged, or names something that the zoo does not have.
    """
    path = config_folder() / "renamed.yaml"
    names = read(Renamed, path)
    known = networks() if kind == "networks" else models()
    for old, new in (found := getattr(names, kind)).items():
        if new not in known or old in known:
            raise ConfigError(f"{path}: {old} is listed as renamed to {new}; only the new name may exist.")
    return found


def network(name: str) -> NetworkConfig:
    """Reads a network's config by its name, or by one that it had in an earlier release.

    Raises:
        UnknownNameError: no such network.
    """
    return _named(NetworkConfig, networks(), name, "network")


def model(name: str) -> ModelConfig:
    """Reads a model's config by its name, or by one that it had in an earlier release; its `name` is today's.

    Raises:
        UnknownNameError: no such model; the message has the closest names.
    """
    return _named(ModelConfig, models(), name, "model")


def check_uncoded(model: ModelConfig) -> None:
    """Refuses a coded model where a tool works on features.

    Raises:
        ConfigError: the model sends codes; the sentence names the model whose head it has.
    """
    if model.code:
        raise ConfigError(
            f"{model.name} sends codes, not features; "
            + (f"name {model.code.base}, whose head it has, or " if model.code.base else "")
            + "print the code's figures with tools/codes.py."
        )


def _named(cls: type[T], known: dict[str, Path], name: str, kind: str) -> T:
    if name not in known and (new := renamed(f"{kind}s").get(name)) is not None:
        warnings.warn(
            f"The {kind} {name} is called {new} now; use that name: the old name will be removed in a later release.",
            RenamedWarning,
            stacklevel=3,
        )
        name = new
    if name not in known:
        close = difflib.get_close_matches(str(name), known, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
        raise UnknownNameError(f"There is no {kind} {name!r}; {hint}privzoo.list_models() lists all models.")
    return read(cls, known[name])
