"""The study's command where a run does not give what it should."""

from types import SimpleNamespace

import pytest
import study

from gbw_panoptic.errors import UserError


@pytest.mark.parametrize("status, words", [(1, "to end well, found exit status 1"), (0, "to leave an evaluation of its last")])
def test_a_run_without_a_result_is_one_sentence(tmp_path, monkeypatch, status, words):
    monkeypatch.setattr(study.subprocess, "call", lambda *arguments, **options: status)
    arguments = SimpleNamespace(model="teacher", folder="configs/streets", opts=[], root=str(tmp_path), jobs=1)
    with pytest.raises(UserError, match=words):
        study.train("source_only", 0, tmp_path, arguments)
