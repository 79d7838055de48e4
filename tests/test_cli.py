"""The progress line: written over on a terminal, sparse elsewhere; log lines stand above it."""

import io

import pytest

from gbw_panoptic import cli


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(cli.time, "monotonic", lambda: now[0])
    return now


def test_elsewhere_a_line_after_each_tenth_or_minute_and_one_at_the_end(monkeypatch, clock):
    monkeypatch.setattr(cli.sys, "stderr", stream := io.StringIO())
    with cli.progress(1000, "Training", unit="iteration") as line:
        for _ in range(1000):
            clock[0] += 0.2
            line.update()
    lines = stream.getvalue().splitlines()
    assert lines[0] == "Training: 100/1000 iterations, 5.0 iterations/s, 0:03:00 left" and len(lines) <= 11
    assert (
        lines[-1] == "Training: 1000 iterations in 0:03:20"
        and "\r" not in stream.getvalue()
        and "\x1b" not in stream.getvalue()
    )


def test_slow_work_is_heard_of_every_minute(monkeypatch, clock):
    monkeypatch.setattr(cli.sys, "stderr", stream := io.StringIO())
    with cli.progress(None, "Reading", unit="batch") as line:
        for _ in range(10):
            clock[0] += 25
            line.update()
    assert stream.getvalue().splitlines() == [
        "Reading: 3/? batches, 25.0 s/batch", "Reading: 6/? batches, 25.0 s/batch",
        "Reading: 9/? batches, 25.0 s/batch",
        "Reading: 10 batches in 0:04:10",
    ]  # fmt: skip


def test_a_terminal_has_one_line_that_others_do_not_break(monkeypatch, clock):
    monkeypatch.setattr(cli.sys, "stderr", stream := Terminal())
    monkeypatch.setattr(cli.sys, "stdout", stream)
    with cli.progress(4, "Training", unit="iteration") as outer:
        clock[0] += 1
        outer.update()
        outer.write("a warning")
        with cli.progress(2, "Evaluating") as inner:
            clock[0] += 1
            inner.update(2)
            outer.update()  # not while another one stands there
    text = stream.getvalue()
    assert "a warning\n" in text and text.index("\r\x1b[K") < text.index("a warning")
    assert [line.rpartition("\r")[2].replace("\x1b[K", "") for line in text.split("\n")] == [
        "a warning", "Evaluating: 2 images in 0:00:01", "Training: 2/4 iterations, 1.0 iterations/s, 0:00:02 left", ""
    ]  # fmt: skip


def test_a_stop_without_words_says_nothing(capsys):
    def leave():
        raise cli.Stopped("", 2)

    with pytest.raises(SystemExit) as stop:
        cli.run(leave)
    assert stop.value.code == 2 and capsys.readouterr().err == ""
