import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import _detectron2_wheel as wheel
import setup_env
from setup_env import Environment, SetupError

ROOT = Path(setup_env.__file__).parent.parent
STEPS = ("create", "install_build_tools", "install_lock", "install_detectron2", "install_project", "check_imports")


@pytest.fixture
def checkout(tmp_path):
    """A folder with the files that determine an environment."""
    (tmp_path / "tools").mkdir()
    for name in setup_env.INPUTS:
        (tmp_path / name).write_text((ROOT / name).read_text())
    return tmp_path


@pytest.fixture
def made(checkout, monkeypatch):
    """An environment whose steps do nothing but their names are recorded; made once."""
    environment = Environment(checkout)
    environment.calls = []
    for step in STEPS:
        monkeypatch.setattr(environment, step, lambda step=step: environment.calls.append(step))
    environment.python.parent.mkdir(parents=True)
    environment.python.touch()
    environment.make()
    return environment


class TestFixes:
    def test_fix_is_applied_everywhere_and_other_lines_stay(self, tmp_path):
        (tmp_path / "a.py").write_text("x = np.bool\ny = np.bool_\nz = np.float32, np.float\n")
        wheel.apply_fixes(tmp_path, [wheel.Fix("a.py", r"\bnp\.(bool|float)\b", r"\1", 2)])
        assert (tmp_path / "a.py").read_text() == "x = bool\ny = np.bool_\nz = np.float32, float\n"

    @pytest.mark.parametrize("expected", [1, 3])
    def test_wrong_count_is_refused_and_the_file_stays(self, tmp_path, expected):
        (tmp_path / "a.py").write_text("np.bool np.bool")
        with pytest.raises(wheel.SourceError, match=f"expected {expected} matches .* in a.py .* found 2"):
            wheel.apply_fixes(tmp_path, [wheel.Fix("a.py", r"np\.bool", "bool", expected)])
        assert (tmp_path / "a.py").read_text() == "np.bool np.bool"

    def test_missing_file_is_refused(self, tmp_path):
        with pytest.raises(wheel.SourceError, match="expected gone.py .* found no such file"):
            wheel.apply_fixes(tmp_path, [wheel.Fix("gone.py", "a", "b", 1)])

    def test_other_archive_is_refused_before_it_is_unpacked(self, tmp_path):
        archive = tmp_path / "pb1-detectron2-0.6.tar.gz"
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(__file__, "setup.py")
        with pytest.raises(wheel.SourceError, match=f"expected {archive.name} with sha256 {wheel.SHA256}, found "):
            wheel.prepare_tree(archive, tmp_path / "source")
        assert not (tmp_path / "source").exists()


class TestStamp:
    def test_second_run_does_nothing(self, made):
        assert made.calls == list(STEPS)
        assert Environment(made.root).is_current()

    def test_every_input_changes_the_digest(self, made):
        for name in setup_env.INPUTS:
            file = made.root / name
            text = file.read_text()
            file.write_text(text + "\n# changed")
            assert not Environment(made.root).is_current(), name
            file.write_text(text)
        assert Environment(made.root).is_current()

    def test_named_detectron2_makes_anew_and_is_remembered(self, made, monkeypatch):
        assert not Environment(made.root, "detectron2 @ file:///elsewhere").is_current()
        made.detectron2 = "detectron2 @ file:///elsewhere"
        made.make()
        assert Environment(made.root, "detectron2 @ file:///elsewhere").is_current()
        assert Environment(made.root).is_current()

    def test_interrupted_set_up_is_resumed(self, made, monkeypatch):
        def interrupted():
            raise KeyboardInterrupt

        monkeypatch.setattr(made, "install_detectron2", interrupted)
        with pytest.raises(KeyboardInterrupt):
            made.make()
        assert not Environment(made.root).is_current()

    def test_damaged_stamp_counts_as_none(self, made):
        made.stamp.write_text("{")
        assert not Environment(made.root).is_current()

    def test_metadata_of_a_killed_installation_is_removed(self, tmp_path):
        packages = tmp_path / "lib/python3.11/site-packages"
        for name, last in (("whole-1.dist-info", "INSTALLER"), ("half-1.dist-info", "RECORD")):
            (packages / name).mkdir(parents=True)
            for file in ("METADATA", last):
                (packages / name / file).touch()
        (packages / "half-1.dist-info/licenses").mkdir()
        (packages / "half-1.dist-info/licenses/LICENSE").touch()
        setup_env.remove_half_installed(tmp_path)
        assert [path.name for path in packages.iterdir()] == ["whole-1.dist-info"]


class TestErrors:
    @pytest.mark.parametrize("version", [(3, 10, 13), (3, 14, 0)])
    def test_unsupported_python_is_refused(self, version):
        with pytest.raises(SetupError, match=r"expected Python 3\.11 to 3\.13, found 3\.1[04]; .*PYTHON="):
            setup_env.check_python(version)

    def test_supported_python_is_not(self):
        setup_env.check_python((3, 11, 0))
        setup_env.check_python((3, 13, 9))
        assert setup_env.check_python(sys.version_info) is None

    def test_failing_command_shows_its_output_and_a_remedy(self, checkout):
        script = "print('pip says: NewConnectionError'); raise SystemExit(1)"
        with pytest.raises(SetupError, match=r"(?s)pip says.*error: it failed: .* index cannot be reached"):
            Environment(checkout).run([sys.executable, "-c", script], "it failed")

    def test_python_without_pip_is_named(self):
        assert "python3-venv" in setup_env.remedy("not created successfully because ensurepip is not available")
        refused = (
            "[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate\nERROR: No matching distribution found for torch"
        )
        assert "PIP_CERT" in setup_env.remedy(refused)

    def test_exit_code_is_2_without_a_traceback(self):
        script = "import setup_env, sys; setup_env.OLDEST = (9, 9); sys.exit(setup_env.main())"
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "tools")}
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
        assert done.returncode == 2
        assert done.stderr.startswith("error: expected Python 9.9") and "Traceback" not in done.stderr


def test_lock_pins_everything_exactly_once():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    lines = [line for line in lines if line and not line.startswith("#")]
    assert all(
        re.fullmatch(r'[\w.-]+==[\w.]+( ; platform_system == "Linux"( and platform_machine == "x86_64"  #.*)?)?', line)
        for line in lines
    )
    names = [line.split("==")[0] for line in lines]
    assert len(names) == len(set(names))
    assert set(setup_env.BUILD_TOOLS) < set(names)


def test_two_set_ups_at_once_are_refused(tmp_path):
    with setup_env.alone(tmp_path):
        with pytest.raises(
            SetupError, match="error: expected one set-up at a time in .*; wait for its end, or end it first"
        ):
            with setup_env.alone(tmp_path):
                pass
    assert not list(tmp_path.iterdir())
