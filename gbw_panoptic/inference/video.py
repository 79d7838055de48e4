"""Frames of a video file, one at a time, and back.

Shapes: H x W pixels of a frame.
"""

import logging
import math
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Callable

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # its messages name no file; ours do

import cv2
import numpy as np

from .. import files
from ..errors import UserError
from ..names import is_text

#: How AVI, MP4 and MOV, Matroska and WebM, MPEG (program and transport streams) and WMV begin.
_CONTAINERS = (
    rb"RIFF....AVI |....(ftyp|moov|mdat|wide|free|skip|pnot)|\x1aE\xdf\xa3|\0\0\x01[\xba\xb3]|\x47|0&\xb2u\x8ef\xcf\x11"
)
_FALLBACK_RATE = 25.0
#: H.264, which every browser plays, and MPEG-4 part 2, the only encoder for MP4 in every build of OpenCV.
_CODECS = ("avc1", "mp4v")
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
        if not os.path.isfile(path):
            found = "something else" if os.path.exists(path) else "nothing"
            raise UserError(f"expected a video at {path}, found {found}; correct the path")
        _require_text(path)
        self._require_container()
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

    def _require_container(self) -> None:
        """By content: FFmpeg would follow a list of addresses that is called .mp4."""
        with open(self.path, "rb") as file:
            head = file.read(16)
        if not re.match(_CONTAINERS, head, re.DOTALL):
            raise self._undecodable()

    def _undecodable(self) -> UserError:
        return UserError(
            f"expected a video that OpenCV can decode, found another file at {self.path}; convert it to MP4 "
            "(H.264), or to images"
        )


@contextmanager
def video_writer(path: Path, rate: float) -> Iterator[Callable[[np.ndarray], None]]:
    """A function that appends frames of one size, uint8 [H, W, 3] RGB; ``path`` (.mp4) appears when the block ends."""
    _require_text(path)
    writer: cv2.VideoWriter | _FFmpegWriter | None = None
    written = 0
    with files.replacing(path, suffix=".tmp.mp4") as temporary:

        def append(frame: np.ndarray) -> None:
            nonlocal writer, written
            height, width = frame.shape[:2]  # codecs want even ones
            frame = cv2.copyMakeBorder(frame, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
            if writer is None:
                writer = _open_writer(temporary, rate, (frame.shape[1], frame.shape[0]))
            if not writer.isOpened():
                raise UserError(f"expected an OpenCV that writes MP4 video, found none for {path}; give it images")
            writer.write(np.ascontiguousarray(frame[:, :, ::-1]))
            written += 1

        try:
            yield append
        finally:
            if writer is not None:
                writer.release()
        _require_whole(temporary, written, path)


class _FFmpegWriter:
    """OpenCV's writer for H.264 where only the program ffmpeg can write it."""

    def __init__(self, program: str, path: Path, rate: float, size: tuple[int, int]) -> None:
        frames = ["-f", "rawvideo", "-pix_fmt", "bgr24", "-s", f"{size[0]}x{size[1]}", "-r", f"{rate:.6f}", "-i", "-"]
        coded = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "+faststart", str(path)]
        command = [program, "-loglevel", "quiet", "-y", *frames, *coded]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def isOpened(self) -> bool:
        return True

    def write(self, frame: np.ndarray) -> None:
        with suppress(BrokenPipeError):  # a full disk: the file is counted at the end
            self._process.stdin.write(frame.tobytes())

    def release(self) -> None:
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()


@lru_cache(maxsize=1)
def _ffmpeg() -> str | None:
    """The program ffmpeg, if it is installed and writes H.264."""
    program = shutil.which("ffmpeg")
    if program is None:
        return None
    listed = subprocess.run([program, "-hide_banner", "-encoders"], capture_output=True, text=True, check=False)
    return program if " libx264 " in listed.stdout else None


def _open_writer(path: Path, rate: float, size: tuple[int, int]) -> "cv2.VideoWriter | _FFmpegWriter":
    """Of frames of (width, height), with the first codec that this OpenCV can write; of none, one that is not open.
    Where H.264 is not among them, the program ffmpeg writes it, if it is there."""
    log = cv2.utils.logging
    level = log.setLogLevel(log.LOG_LEVEL_SILENT)  # of a codec that is missing, we tell
    try:
        for codec in _CODECS:
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), rate, size)
            if writer.isOpened():
                break
            if codec == _CODECS[0] and _ffmpeg():
                return _FFmpegWriter(_ffmpeg(), path, rate, size)
    finally:
        log.setLogLevel(level)
    if codec != _CODECS[0] and writer.isOpened():
        _say_once()
    return writer


@lru_cache(maxsize=1)
def _say_once() -> None:
    logging.getLogger(__name__).warning(
        "This OpenCV writes no H.264 and there is no ffmpeg that does, so videos are MPEG-4 part 2, which some "
        "browsers do not play; `ffmpeg -i overlay.mp4 -c:v libx264 out.mp4` converts one."
    )


def _require_whole(temporary: Path, frames: int, path: Path) -> None:
    """Raise UserError unless all frames are in the file: OpenCV's writer says nothing of a disk that is full."""
    capture = cv2.VideoCapture(str(temporary))
    found = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
    capture.set(cv2.CAP_PROP_POS_FRAMES, max(found - 1, 0))
    last = capture.read()[0]
    capture.release()
    if frames and (found < frames or not last):
        raise UserError(
            f"expected a video of {frames} frames at {path}, found that {found} were written; free space on the disk "
            "and predict it again with --resume"
        )


def _require_text(path: Path) -> None:
    """OpenCV's video functions crash on names that are not UTF-8."""
    if not is_text(str(path)):
        raise UserError(
            f"expected a path in UTF-8 for a video, found {os.fsencode(path)!r}; rename it, or convert the video to "
            "images"
        )
