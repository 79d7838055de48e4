"""What the Dockerfile says of the lock and of the repository holds."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import setup_env

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "Dockerfile").read_text()


def test_the_lock_without_cuda_is_the_lock_but_for_its_libraries(tmp_path):
    script = re.search(r"sed -i ('[^']*') requirements\.lock", TEXT)[1]
    lock = shutil.copy(ROOT / "requirements.lock", tmp_path)
    subprocess.run(["sed", "-i", *shlex.split(script), lock], check=True)
    before, after = (path.read_text().splitlines() for path in (ROOT / "requirements.lock", Path(lock)))
    removed = [line.split("==")[0] for line in before if "==" in line and line not in after]
    assert len(removed) > 10 and all(re.match(r"nvidia-|cuda-|triton$", name) for name in removed)
    assert not any(re.match(r"nvidia-|cuda-|triton==", line) for line in after)
    assert [line for line in after if line.startswith("torch==")] and after[-1] == before[-1]


def test_python_and_copied_files_are_those_of_the_repository():
    version = tuple(map(int, re.search(r"^FROM python:(\d+)\.(\d+)-slim$", TEXT, re.M).groups()))
    assert setup_env.OLDEST <= version <= setup_env.NEWEST
    admitted = {
        line[1:].split("/")[0] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    copied = [name for line in re.findall(r"^COPY (.*) \S+$", TEXT, re.M) for name in line.split()]
    assert set(copied) == admitted and all((ROOT / name).exists() for name in copied)
    assert set(setup_env.INPUTS) <= {name for name in setup_env.INPUTS if name.split("/")[0] in copied}
