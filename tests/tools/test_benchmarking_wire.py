"""Bytes and time on the wire: DataMix's Table 1."""

from __future__ import annotations

import math

import pytest
from benchmarking import wire
from hypothesis import given
from hypothesis import strategies as st

import privzoo
from privzoo import architectures


def found(size: int = wire.DATAMIX_SIZE, architecture: str = "vgg16", **options) -> dict[str, wire.Transfer]:
    return {t.sent: t for t in wire.transfers(architecture, size, **options)}


def half_up(value: float, digits: int = 0) -> float:
    return math.floor(value * 10**digits + 0.5) / 10**digits


@pytest.mark.parametrize("sent", wire.DATAMIX)
def test_reproduces_datamix_table_1(sent):
    transfer = found()[sent]
    percent, megabytes, seconds = transfer.paper
    assert half_up(transfer.bytes / wire.MEGA, 1) == megabytes
    assert half_up(100 * transfer.device_share) == percent
    # For conv1_1 the table has the time without the network's delay.
    without = 2 * wire.DELAY_SECONDS if sent == "conv1_1" else 0
    assert half_up(transfer.seconds - without, 1) == seconds


def test_bytes_are_the_layers():
    transfers = found()
    assert transfers["image as float32"].bytes == 602_112
    assert transfers["conv5_1"].bytes == 401_408
    assert transfers["conv5_3 reduced to 4"].bytes == 16
    assert transfers["image, 8 bits per channel"].bytes * 4 == transfers["image as float32"].bytes


@pytest.mark.parametrize("architecture", architectures.ARCHITECTURES)
@pytest.mark.parametrize("size", [96, 224])
def test_later_cuts_cost_more_on_the_device_and_reduced_ones_less_on_the_wire(architecture, size):
    transfers = found(size, architecture, classes=2, classifier=())
    cuts = [transfers[cut] for cut in architectures.cuts(architecture)]
    assert [t.device_share for t in cuts] == sorted(t.device_share for t in cuts)
    for cut in cuts:
        reduced = transfers[f"{cut.sent} reduced to {wire.DIMENSIONS[cut.sent]}"]
        assert reduced.bytes < cut.bytes and reduced.seconds < cut.seconds
        assert 0 < cut.device_share < 1 and 0 < reduced.device_share < 1
    assert all(t.paper is None for t in transfers.values())


def test_shares_are_the_cards():
    card = privzoo.show("vgg16_gender_reduced_simple_conv5_3")
    transfers = found(card.network.input_size, classes=2, classifier=())
    assert transfers["conv5_3"].device_share == privzoo.show("vgg16_gender_simple_conv5_3").cost.head_share
    assert transfers["conv5_3 reduced to 4"].device_share == card.cost.head_share
    assert transfers["conv5_3 reduced to 4"].bytes == card.cost.feature_bytes


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_equation_1(sent, received):
    assert wire.seconds(0, 0) == 0.05
    expected = sent * 8 / (15 * 2**20) + received * 8 / (30 * 2**20) + 0.05
    assert wire.seconds(sent, received) == pytest.approx(expected)
