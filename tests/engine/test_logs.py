"""What the terminal of a run shows, and what log.txt keeps."""

import logging

from gbw_panoptic.engine.logs import RunLog


def say(name, level, words, **options):
    logging.getLogger(name).log(level, words, **options)


def test_log_txt_has_everything_from_the_start_and_the_terminal_what_matters(tmp_path, capsys):
    before = [list(logging.getLogger(name).handlers) for name in ("detectron2", "fvcore", "gbw_panoptic")]
    with RunLog(0) as log:
        say("gbw_panoptic", logging.INFO, "ours, early")
        say("detectron2.data.common", logging.INFO, "theirs, early")
        assert not list(tmp_path.iterdir())  # no file before the command is accepted
        log.open(str(tmp_path))
        say("detectron2.utils.events", logging.INFO, "iter: 19")
        say("fvcore.common.checkpoint", logging.WARNING, "a key is missing")
        say("gbw_panoptic.engine", logging.DEBUG, "milliseconds")
        say("detectron2.engine.train_loop", logging.ERROR, "Exception during training:", exc_info=ValueError("x"))
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert [line.partition("] ")[2] for line in lines[:5]] == [
        "gbw_panoptic INFO: ours, early", "d2.data.common INFO: theirs, early", "d2.utils.events INFO: iter: 19",
        "fvcore.common.checkpoint WARNING: a key is missing", "gbw_panoptic.engine DEBUG: milliseconds",
    ]  # fmt: skip
    assert "ValueError: x" in lines[-1]
    assert capsys.readouterr().out == "ours, early\nWARNING: a key is missing\n"
    assert [list(logging.getLogger(name).handlers) for name in ("detectron2", "fvcore", "gbw_panoptic")] == before


def test_other_ranks_have_a_file_of_their_own_and_no_terminal(tmp_path, capsys):
    with RunLog(1) as log:
        log.open(str(tmp_path))
        say("gbw_panoptic", logging.WARNING, "of rank 1")
    assert "of rank 1" in (tmp_path / "log.txt.rank1").read_text() and capsys.readouterr().out == ""
