"""tools/report.py: one run, several, and its sentences."""

import sys

import pytest
import report


def call(monkeypatch, *arguments) -> dict:
    """What the tool hands on, by function."""
    calls = {}
    monkeypatch.setattr(sys, "argv", ["report.py", *map(str, arguments)])
    for name in ("write_report", "write_comparison"):
        monkeypatch.setattr(
            report, name, lambda *args, name=name, **options: calls.update({name: (args, options)}) or "path"
        )
    report.main()
    return calls


def test_one_run_is_a_report_and_several_are_a_comparison(monkeypatch, capsys):
    options = {"destination": None, "protocol": None, "baseline": None}
    assert call(monkeypatch, "run") == {"write_report": (("run",), options)}
    assert call(monkeypatch, "run", "--before", "b") == {"write_report": (("run",), {**options, "baseline": "b"})}
    assert call(monkeypatch, "a", "b", "--output", "out", "--protocol", "16") == {
        "write_comparison": ((["a", "b"], "out"), {"baseline": [], "protocol": "16"})
    }
    assert call(monkeypatch, "a", "--baseline", "b", "c") == {
        "write_comparison": ((["a"], report.DEFAULT_OUTPUT), {"baseline": ["b", "c"], "protocol": None})
    }
    assert capsys.readouterr().out == "Report: path\n" * 4


def test_before_is_of_one_run(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        call(monkeypatch, "a", "b", "--before", "c")
    assert "--before: expected one RUN" in capsys.readouterr().err


def test_errors_are_one_sentence(run_tool, tmp_path):
    (tmp_path / "empty").mkdir()
    for arguments, words in (
        ([tmp_path / "absent"], "found nothing at"),
        ([tmp_path / "empty", tmp_path / "absent"], "found neither in"),
    ):
        done = run_tool("tools/report.py", *arguments)
        assert done.returncode == 2 and words in done.stderr and done.stderr.count("\n") == 1
        assert done.stderr.startswith("error: expected ")
