"""Videos in and out; OpenCV's own reader and writer are the other side."""

import os
import resource
import shutil
import sys

import cv2
import numpy as np
import pytest

from gbw_panoptic.errors import UserError
from gbw_panoptic.inference import video
from gbw_panoptic.inference.video import VideoReader, video_writer


def test_frames_come_back_in_order_upright_and_in_rgb(tmp_path):
    path = tmp_path / "x.mp4"
    colors = [(200, 40, 40), (40, 200, 40), (40, 40, 200)]
    with video_writer(path, 10) as append:
        assert not path.exists()
        for color in colors:
            frame = np.full((33, 51, 3), color, np.uint8)
            frame[:10] = 0
            append(frame)
    assert [p.name for p in tmp_path.iterdir()] == ["x.mp4"]
    reader = VideoReader(path)
    assert reader.rate == 10 and reader.num_frames == 3
    frames = list(reader)
    reader.check_complete()
    assert len(frames) == reader.num_read == 3 and frames[0].shape == (34, 52, 3)  # even, as codecs want
    for frame, color in zip(frames, colors):
        assert np.abs(frame[20:30, 10:40].mean(axis=(0, 1)) - color).max() < 12  # lossy
        assert frame[:6, 10:40].mean() < 20


@pytest.mark.parametrize("content", [None, b"", b"no video" * 200])
def test_what_is_no_video_is_refused(tmp_path, content):
    path = tmp_path / "x.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match="expected a video .*x.mp4"):
        list(VideoReader(path))


def test_a_video_that_is_cut_off_is_reported_behind_its_last_frame(tmp_path):
    path = tmp_path / "x.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    rng = np.random.default_rng(0)
    for _ in range(10):
        writer.write(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8))
    writer.release()
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    reader = VideoReader(path)
    frames = list(reader)
    assert 0 < len(frames) < 9
    reader.num_frames = 10  # what the index, now cut off, would have said
    with pytest.raises(UserError, match=f"expected 10 frames in .*x.avi, found {len(frames)}"):
        reader.check_complete()


def test_a_missing_codec_is_told_once_and_the_next_one_taken(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(video, "_CODECS", ("none", "mp4v"))
    monkeypatch.setattr(video, "_ffmpeg", lambda: None)
    video._say_once.cache_clear()
    for name in ("x.mp4", "y.mp4"):
        with video_writer(tmp_path / name, 10) as append:
            append(np.zeros((32, 32, 3), np.uint8))
        assert len(list(VideoReader(tmp_path / name))) == 1
    (record,) = caplog.records
    assert "writes no H.264" in record.getMessage()
    video._say_once.cache_clear()


def test_ffmpeg_writes_h_264_where_opencv_cannot(tmp_path, monkeypatch, caplog):
    """A stand-in for the program takes what it is given to a file; its arguments are those of a real one."""
    program = tmp_path / "ffmpeg"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nif '-encoders' in sys.argv: print(' V..... libx264  H.264')\n"
        "else: open(sys.argv[-1], 'wb').write(sys.stdin.buffer.read()); open(sys.argv[-1] + '.txt', 'w').write(' "
        "'.join(sys.argv))\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(video, "_CODECS", ("none", "mp4v"))
    monkeypatch.setattr(
        video, "_require_whole", lambda temporary, frames, path: shutil.copy(temporary, tmp_path / "raw")
    )
    video._ffmpeg.cache_clear()
    with video_writer(tmp_path / "x.mp4", 29.97) as append:
        append(np.full((31, 32, 3), (1, 2, 3), np.uint8))
    video._ffmpeg.cache_clear()
    assert (tmp_path / "raw").read_bytes() == bytes((3, 2, 1)) * 32 * 32 and not caplog.records
    (arguments,) = [path.read_text() for path in tmp_path.glob(".x.mp4*.txt")]
    assert "-s 32x32 -r 29.970000 -i - -c:v libx264" in arguments and (tmp_path / "x.mp4").is_file()


def test_a_failing_block_leaves_no_video(tmp_path):
    with pytest.raises(KeyError), video_writer(tmp_path / "x.mp4", 10) as append:
        append(np.zeros((32, 32, 3), np.uint8))
        raise KeyError
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_no_video_that_cannot_be_played(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    rng = np.random.default_rng(0)
    try:
        with pytest.raises(UserError, match="expected a video of 20 frames at .*x.mp4, found that"):
            with video_writer(tmp_path / "x.mp4", 10) as append:
                resource.setrlimit(resource.RLIMIT_FSIZE, (30000, limits[1]))
                for _ in range(20):
                    append(rng.integers(0, 256, (64, 96, 3), dtype=np.uint8))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


def test_a_list_of_addresses_is_no_video(tmp_path, monkeypatch):
    (tmp_path / "x.mp4").write_text("#EXTM3U\n#EXTINF:1,\nhttp://example.org/1.ts\n")
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: pytest.fail("FFmpeg was asked"))
    with pytest.raises(UserError, match="expected a video that OpenCV can decode"):
        VideoReader(tmp_path / "x.mp4")


def test_names_that_crash_opencv_and_pipes_that_never_end_are_refused(tmp_path):
    with video_writer(tmp_path / "x.mp4", 10) as append:
        append(np.zeros((32, 32, 3), np.uint8))
    odd = os.path.join(os.fsencode(tmp_path), b"stra\xdfe.mp4")
    shutil.copy(tmp_path / "x.mp4", odd)
    with pytest.raises(UserError, match="expected a path in UTF-8 for a video"):
        VideoReader(type(tmp_path)(os.fsdecode(odd)))
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(UserError, match="expected a video at .*pipe.mp4, found something else"):
        VideoReader(tmp_path / "pipe.mp4")
