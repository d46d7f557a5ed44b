"""Frames of a camera: the newest is looked at, the rest is dropped, and whatever goes wrong reaches the caller."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from export_fakes import chips, exported, serving

from privzoo.edge import Client, Head
from privzoo.edge.stream import Stream
from privzoo.errors import FaceNotFoundError, ImageError, ServerUnavailableError

pytestmark = pytest.mark.server


class Camera:
    """Gives a frame when it is told to."""

    def __init__(self) -> None:
        self.ready, self.taken = threading.Semaphore(0), threading.Semaphore(0)
        self.ended = self.closed = False

    def __iter__(self):
        try:
            number = 0
            while self.ready.acquire(timeout=20) and not self.ended:
                yield number
                number += 1
                self.taken.release()
        finally:
            self.closed = True

    def give(self, count: int = 1) -> None:
        """Gives frames, and waits until all but the last were taken over."""
        for _ in range(count):
            self.ready.release()

    def end(self) -> None:
        self.ended = True
        self.ready.release()


def wait_until(condition) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def test_every_frame_is_answered_when_there_is_time():
    camera = Camera()
    stream = Stream(camera, lambda frame, name: (frame, name))
    for number in range(5):
        camera.give()
        assert next(stream) == (number, f"frame {number}")
    camera.end()
    assert list(stream) == []
    assert (stream.read, stream.dropped, stream.without_face) == (5, 0, 0)
    wait_until(lambda: camera.closed)


def test_frames_that_came_meanwhile_are_dropped_but_for_the_newest():
    camera = Camera()

    def slow(frame, name):
        if frame == 0:
            camera.give(4)  # frames 1 to 4 come while frame 0 is worked on
            wait_until(lambda: stream.read == 5)
        return frame

    stream = Stream(camera, slow)
    camera.give()
    assert next(stream) == 0
    assert next(stream) == 4
    assert (stream.read, stream.dropped) == (5, 3)
    stream.close()
    camera.end()


def test_the_last_frame_is_looked_at_and_none_twice():
    stream = Stream(range(1000), lambda frame, name: frame)
    answers = list(stream)
    assert answers[-1] == 999 and answers == sorted(set(answers))
    assert stream.read == 1000 and stream.dropped == 1000 - len(answers)
    assert list(stream) == []


def test_frames_without_a_face_are_counted():
    camera = Camera()

    def ask(frame, name):
        if frame < 2:
            camera.give()
            raise FaceNotFoundError("none")
        return frame

    stream = Stream(camera, ask)
    camera.give()
    assert next(stream) == 2 and stream.without_face == 2
    camera.end()


def test_a_camera_that_fails_is_told_once():
    def broken():
        yield 1
        raise OSError("the cable")

    stream = Stream(broken(), lambda frame, name: frame)
    answers = []
    with pytest.raises(OSError, match="the cable"):
        for answer in stream:
            answers.append(answer)
    assert answers in ([], [1])
    assert list(stream) == []


def test_closing_ends_the_reading():
    camera = Camera()
    with Stream(camera, lambda frame, name: frame) as stream:
        camera.give()
        assert next(stream) == 0
    assert list(stream) == []
    camera.give()
    wait_until(lambda: camera.closed)
    assert stream.read == 1


def test_nothing_is_read_before_someone_asks():
    camera = Camera()
    Stream(camera, lambda frame, name: frame).close()
    assert not camera.ready._value and not camera.closed


def test_a_client_streams():
    head = Head(exported("int8"))
    with serving() as (url, handler):
        asking = Client(head, url, timeout=60)
        [first] = asking.predict(chips()[0], face="given")
        stream = asking.stream([chips()[0]] * 50, face="given")
        answers = list(stream)
        assert answers and all(answer.probabilities == first.probabilities for answer in answers)
        assert answers[-1].image == "frame 49"
        assert len(handler.bodies) == 1 + len(answers)
        assert stream.read == 50 and head.queries == 1 + len(answers)
        with pytest.raises(ImageError):
            next(asking.stream([np.zeros((2, 2), np.float32)]))
    with pytest.raises(ServerUnavailableError):
        next(asking.stream([chips()[0]], face="given"))
    asking.close()
