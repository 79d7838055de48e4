"""Frames of a video file, one at a time, and back.

Shapes: H x W pixels of a frame.
"""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Callable

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # its messages name no file; ours do

import cv2
import numpy as np

from .. import files
from ..errors import UserError

_FALLBACK_RATE = 25.0
_CODEC = "mp4v"  # the only encoder for MP4 in every build of OpenCV
#: A container's count of frames is often an estimate; with fewer than this share of it, the file is damaged.
_COMPLETE = 0.9


class VideoReader:
    """Iterates over the frames, uint8 [H, W, 3] RGB, upright.

    Attributes:
        rate: frames per second.
        num_frames: as the container says; None if it does not.
        num_read: so far.
    """

    def __init__(self, path: Path) -> None:
        """
        Raises:
            UserError: OpenCV cannot decode the file.
        """
        self.path = path
        if not path.is_file():
            raise UserError(f"expected a video at {path}, found nothing; correct the path")
        self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            raise self._undecodable()
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if math.isfinite(rate) and 0 < rate <= 1000 else _FALLBACK_RATE
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.num_frames = int(count) if math.isfinite(count) and 0 < count < 2**31 else None
        self.num_read = 0

    def __iter__(self) -> Iterator[np.ndarray]:
        """
        Raises:
            UserError: no frame can be decoded.
        """
        size = None
        while True:
            decoded, frame = self._capture.read()
            if not decoded or frame.shape != (size or frame.shape):
                break
            size = frame.shape
            self.num_read += 1
            yield np.ascontiguousarray(frame[:, :, ::-1])
        self._capture.release()
        if self.num_read == 0:
            raise self._undecodable()

    def check_complete(self) -> None:
        """To be called behind the last frame.

        Raises:
            UserError: the frames ended much before the container says.
        """
        if self.num_frames and self.num_read < _COMPLETE * self.num_frames:
            raise UserError(
                f"expected {self.num_frames} frames in {self.path}, found {self.num_read} that can be decoded (these "
                "are done); the video is damaged or cut off: copy or convert it again"
            )

    def _undecodable(self) -> UserError:
        return UserError(
            f"expected a video that OpenCV can decode, found another file at {self.path}; convert it to MP4 "
            "(H.264), or to images"
        )


@contextmanager
def video_writer(path: Path, rate: float) -> Iterator[Callable[[np.ndarray], None]]:
    """A function that appends frames of one size, uint8 [H, W, 3] RGB; ``path`` (.mp4) appears when the block ends."""
    writer: cv2.VideoWriter | None = None
    with files.replacing(path, suffix=".tmp.mp4") as temporary:

        def append(frame: np.ndarray) -> None:
            nonlocal writer
            height, width = frame.shape[:2]  # codecs want even ones
            frame = cv2.copyMakeBorder(frame, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
            if writer is None:
                size = frame.shape[1], frame.shape[0]
                writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter_fourcc(*_CODEC), rate, size)
            if not writer.isOpened():
                raise UserError(f"expected an OpenCV that writes {_CODEC} video, found none for {path}; give it images")
            writer.write(np.ascontiguousarray(frame[:, :, ::-1]))

        try:
            yield append
        finally:
            if writer is not None:
                writer.release()
