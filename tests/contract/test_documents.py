"""What the documents name is there: paths, modules, targets and commands."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from stepway_cli.main import app
from tests.data import REPOSITORY

DOCUMENTS = sorted(
    [
        *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md")),
        *(REPOSITORY / "docs").rglob("*.md"),
        *(REPOSITORY / "services").glob("*/README.md"),
    ]
)
FOLDERS = ("tests", "docs", "services", "chassis", "cli", "deploy", "protos", ".ci")
MADE = ("deploy/secrets", "protos/gen")  # by a command
PATH = re.compile(rf"(?<![\w/.-])(?:{'|'.join(map(re.escape, FOLDERS))})(?:/[\w.-]*\w)+/?")
MODULE = re.compile(r"(?<![\w/.-])[a-z_]\w+\.py\b")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)[^)]*\)")


def _missing(document: Path) -> Iterator[str]:
    text = document.read_text()
    for link in LINK.findall(text):
        if not (document.parent / link).exists():
            yield link
    for path in PATH.findall(text):
        if not path.startswith(MADE) and not (REPOSITORY / path).exists():
            yield path
    modules = {file.name for folder in FOLDERS[:6] for file in (REPOSITORY / folder).rglob("*.py")} | {"build.py"}
    yield from (module for module in MODULE.findall(text) if module not in modules)
    targets = re.findall(r"(?m)^([a-z-]+):", (REPOSITORY / "Makefile").read_text())
    yield from (f"make {target}" for target in re.findall(r"`make ([a-z-]+)", text) if target not in targets)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_what_a_document_names_exists(document: Path) -> None:
    assert list(_missing(document)) == []


def test_a_name_that_is_wrong_is_found(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(
        "tests/integration/test_watchdog.py, test_tea.py, docs/nowhere, `make tea`, [x](gone.md)"
    )
    wrong = ["docs/nowhere", "gone.md", "make tea", "test_tea.py", "tests/integration/test_watchdog.py"]
    assert sorted(_missing(tmp_path / "page.md")) == wrong


def test_the_readme_has_every_command() -> None:
    rows = [line for line in (REPOSITORY / "README.md").read_text().splitlines() if line.startswith("|")]
    for words in _commands():
        assert any(all(word in row for word in words) for row in rows), words


def _commands() -> Iterator[tuple[str, ...]]:
    """Of a group, its name and the command's."""
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        yield from ((name, each) for each in inner) if inner else [(name,)]
