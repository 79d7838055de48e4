import doctor
import pytest


def test_doctor_reports_versions_and_missing_data_sets_and_how_to_get_them(run_tool, monkeypatch, tmp_path):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "nothing here"))
    done = run_tool("tools/doctor.py")
    assert done.returncode == 0, done.stderr
    report = done.stdout
    for package in ("torch", "numpy", "cityscapesScripts"):
        assert doctor.version(package) in report
    data_sets = report.split("Data sets below")[1]
    for name in ("synthia", "cityscapes", "gta5", "foggy_cityscapes", "mapillary_vistas"):
        assert name in data_sets
    assert data_sets.count("missing") == data_sets.count("->") >= 5
    assert not (tmp_path / "nothing here").exists()


def test_extras_are_read_from_the_metadata():
    requirements = ["numpy", 'pytest; extra == "test"', "no-such>=2; extra == 'more'", 'pytest; extra == "more"']
    assert dict(doctor.describe_extras(requirements)) == {
        "extra 'test'": "installed",
        "extra 'more'": "missing: no-such",
    }


def test_flavour_and_release_of_detectron2_are_told_apart(monkeypatch):
    def present(*names):
        monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: name if name in names else None)

    present("detectron2")
    assert doctor.describe_detectron2().startswith("v0.6, pure Python")
    present("detectron2", "detectron2._C", "detectron2.tracking")
    assert doctor.describe_detectron2().startswith("main, with compiled operators")
    present()
    assert doctor.describe_detectron2().startswith("not installed")


@pytest.mark.parametrize("gpu, there, words", [
    (False, True, "the CPU has instructions for it"), (False, False,
                                                       "the CPU has no instructions for it: leave SOLVER.AMP off"),
    (True, False, "the GPU has no instructions for it: set SOLVER.AMP.PRECISION float16"),
])  # fmt: skip
def test_what_autocast_saves_is_said(gpu, there, words, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    monkeypatch.setattr("gbw_panoptic.machine.computes_bfloat16", lambda device: there)
    assert doctor.describe_bfloat16().startswith(words)
