"""The demo, run as a newcomer runs it: in a process of its own, with an exit code."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepway_cli.local.forget import forget
from tests.data import DEMO_DATA, REPOSITORY, TEST_DATA, resources

STEPWAY = Path(sys.executable).with_name("stepway")


@pytest.fixture
def run() -> Iterator[str]:
    """A run that is beside `stepway up`, `stepway demo` and other tests."""
    name = f"demo-{os.getpid()}"
    yield name
    forget(REPOSITORY / ".stepway" / name)


def demo(run: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [STEPWAY, "demo", "--run", run, *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "COLUMNS": "160"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


OURS = DEMO_DATA / "referrals", DEMO_DATA / "answers.csv", 0
REAL = TEST_DATA / "fhir", TEST_DATA / "instruments" / "ukm_items.csv", 7
"""Six referrals each, answers, and how much of it is refused."""
REAL_IS_THERE = all(path.exists() for path in (REAL[0] / "us_core", REAL[0] / "patients", REAL[1]))


def test_the_demo_keeps_every_promise_twice_in_a_row_and_counts_everything_that_came_in(run: str) -> None:
    for folder, answers, refused in (OURS, REAL if REAL_IS_THERE else OURS):
        rows = len(answers.read_text().splitlines()) - 1
        counted = f"{resources(folder)} FHIR resources: 6 referrals; {rows} rows of answers; {refused} refused"
        done = demo(run, "--referrals", str(folder), "--answers", str(answers))
        assert done.returncode == 0, done.stdout + done.stderr
        assert counted in done.stdout
        assert "Every promise held." in done.stdout
        assert "BROKEN" not in done.stdout
        assert "untried" not in done.stdout
        assert re.search(r" ([1-9]\d*) left unanswered, \1 of those taken by the next", done.stdout)
        assert re.search(r"northside +patient +sms +\d+ +delivered", done.stdout)
        assert re.search(r"lakeside +patient +sms +\d+ +waits until", done.stdout)


def test_the_demo_takes_anybodys_referrals_and_answers_and_names_what_it_cannot_take(run: str, tmp_path: Path) -> None:
    answers = tmp_path / "answers.csv"
    answers.write_text("D1,D9,shoe size\n1,3,44\n9,0,38\n,,\n2,,41\n")
    (tmp_path / "broken.json").write_text("{")
    shutil.copy(next((DEMO_DATA / "referrals").glob("01*")), tmp_path)
    shutil.copy(next((DEMO_DATA / "referrals").glob("02*")), tmp_path)
    done = demo(run, "--referrals", str(tmp_path), "--answers", str(answers))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "broken.json" in done.stdout
    assert "NOT_JSON" in done.stdout
    assert "row 3" in done.stdout
    assert "shoe size" in done.stdout


def test_the_demo_does_not_touch_a_run_that_is_none_of_its_own(tmp_path: Path) -> None:
    folder = REPOSITORY / ".stepway" / f"kept-{os.getpid()}"
    folder.mkdir(parents=True)
    try:
        assert "no demo" in demo(folder.name).stderr
        assert folder.exists()
        assert "lower-case" in demo("../elsewhere").stderr
    finally:
        folder.rmdir()


def test_a_folder_without_files_is_one_clear_line(run: str, tmp_path: Path) -> None:
    done = demo(run, "--referrals", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("stepway: ")
    assert "Traceback" not in done.stderr
