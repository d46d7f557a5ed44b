"""Answers for the frames of a camera: the newest frame each time, those that arrived in between are dropped."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from privzoo.errors import FaceNotFoundError, SilenceError

if TYPE_CHECKING:
    from privzoo.edge.answer import Answer

_NOTHING = object()


class Stream:
    """Iterates over the answers for frames; made by `Client.stream`.

    A thread reads the frames as they arrive and keeps the newest, so a camera's buffer does not fill with old ones.
    Only one frame is processed at a time. The last frame is always processed.

    Args:
        frames: any iterable of frames in real time, such as uint8 RGB (H, W, 3); read in a separate thread.
        ask: returns the answer for one frame; takes its name for errors.

    Attributes:
        read: frames read so far.
        dropped: frames replaced by a newer one before they were processed.
        without_face: frames that were processed and showed no face, or were silent.

    Raises (while iterating):
        Whatever `ask` raises except FaceNotFoundError and SilenceError, and whatever the frames raise.
    """

    def __init__(self, frames: Iterable[Any], ask: Callable[[Any, str], Answer]) -> None:
        self.read = self.dropped = self.without_face = 0
        self._frames, self._ask = iter(frames), ask
        self._changed = threading.Condition()
        self._newest: Any = _NOTHING
        self._ended = False
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Stream:
        """The stream itself; it is closed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the stream."""
        self.close()

    def __iter__(self) -> Iterator[Answer]:
        """The stream itself."""
        return self

    def __next__(self) -> Answer:
        """The answer for the newest frame that shows a face, or has sound; waits for one."""
        while True:
            frame, number = self._take()
            try:
                return self._ask(frame, f"frame {number}")
            except (FaceNotFoundError, SilenceError):
                self.without_face += 1
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Stops reading frames; the thread ends as soon as the frame that it is waiting for has arrived."""
        with self._changed:
            self._ended, self._newest = True, _NOTHING
            self._changed.notify_all()

    def _take(self) -> tuple[Any, int]:
        if self._thread is None:  # a camera is not read before its frames are wanted
            # A daemon: a camera without frames must not keep the program from ending.
            self._thread = threading.Thread(target=self._read, name="privzoo-frames", daemon=True)
            self._thread.start()
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not _NOTHING or self._ended)
            frame, self._newest = self._newest, _NOTHING
            if frame is not _NOTHING:
                return frame, self.read - 1
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            raise StopIteration

    def _read(self) -> None:
        try:
            for frame in self._frames:
                with self._changed:
                    if self._ended:
                        return
                    self.read += 1
                    self.dropped += self._newest is not _NOTHING
                    self._newest = frame
                    self._changed.notify_all()
        except BaseException as error:  # the iterating thread raises it
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()
            # In this thread: a generator cannot be closed while it runs in another.
            close = getattr(self._frames, "close", None)
            if close is not None:
                close()
