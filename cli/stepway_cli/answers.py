"""From a CSV file, one person a row, to the answers that intake can score."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from stepway.intake.v1 import assessment_pb2
from stepway_chassis.ids import id_of
from stepway_cli import instruments
from stepway_cli.findings import Place, Refused, Unusable
from stepway_intake.instruments.catalogue import CURRENT
from stepway_intake.instruments.definition import Definition, Item

_LETTERS = {"phq-9": "D", "gad-7": "A"}  # as data of studies often names them
_BY_NAME = {
    name.upper(): (form, item)
    for form in CURRENT.values()
    for item in form.items
    for name in (f"{form.name}.{item.number}", f"{_LETTERS.get(form.name, form.name + '.')}{item.number}")
}
_KNOWN = frozenset(_BY_NAME) | instruments.KNOWN_CODES
_REFERRAL, _ANSWERED = "referral_id", "answered_at"
_NUMBER = re.compile(r"[0-9]{1,3}")
_DELIMITERS = ",;\t"
_LONGEST_HEADER = 60


@dataclass(frozen=True)
class PersonAnswers:
    """One person's answers, unanswered items left out; the header is row 1, so that a spreadsheet agrees."""

    row_number: int
    answers: dict[assessment_pb2.Instrument, dict[int, int]] = field(repr=False)
    answered_at: str = ""  # as it is written
    referral_id: str = ""


@dataclass(frozen=True)
class Answers:
    """Every row is in people or, by its number, in refused."""

    people: list[PersonAnswers]
    refused: list[Refused]
    ignored_columns: list[str]


@dataclass(frozen=True)
class _Column:
    """A column that holds the answers to one item."""

    index: int
    header: str
    instrument: assessment_pb2.Instrument
    item: int
    values: frozenset[int]


def read_answers(content: str | bytes) -> Answers:
    """Read columns headed phq-9.1 (or D1), gad-7.1 (or A1) and so on, or with LOINC item codes.

    Where there is a column referral_id or answered_at, a row may say whose it is and when it was filled in. An empty
    cell is an unanswered item. Nothing in the content makes this raise.
    """
    try:
        return _answers(_text(content))
    except Unusable as problem:
        return Answers([], [problem.named("header", Place("", 1, "row"))], [])


def _text(content: str | bytes) -> str:
    try:
        text = content.decode("utf-8-sig") if isinstance(content, bytes) else content.removeprefix("\ufeff")
    except UnicodeDecodeError:
        raise Unusable("NOT_UTF8", "save the file as UTF-8") from None
    if not text.strip():
        raise Unusable("EMPTY_FILE", "there is nothing in this file")
    return text


def _answers(text: str) -> Answers:
    rows, refused = _rows(text)
    header = [cell.strip() for cell in rows.pop(min(rows))]
    columns = _columns(header)
    if not rows and not refused:
        raise Unusable("NO_ROWS", "there is a header and nobody below it")
    people: list[PersonAnswers] = []
    for number, row in rows.items():
        try:
            answers = _row_answers(row, len(header), columns)
            people.append(PersonAnswers(number, answers, _cell(header, row, _ANSWERED), _referral(header, row)))
        except Unusable as problem:
            refused.append(problem.named(f"row {number}", Place("", number, "row")))
    return Answers(people, refused, _ignored(header, columns))


def _rows(text: str) -> tuple[dict[int, list[str]], list[Refused]]:
    """Every row that is not blank by its number, and the one that the rest cannot be read from."""
    rows: dict[int, list[str]] = {}
    number = 0
    try:
        for number, row in enumerate(_reader(text, _delimiter(text)), start=1):
            if row:
                rows[number] = row
    except csv.Error:
        broken = Unusable("NOT_CSV", "a quote is left open or a cell is too long: nothing from here on was read")
        if not rows:
            raise broken from None
        return rows, [broken.named(f"row {number + 1}", Place("", number + 1, "row"))]
    return rows, []


def _reader(text: str, delimiter: str) -> Iterator[list[str]]:
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)


def _delimiter(text: str) -> str:
    """The delimiter that finds the most known columns in the first line."""
    first = text.lstrip().splitlines()[0].upper().replace('"', "")
    return max(_DELIMITERS, key=lambda delimiter: sum(cell.strip() in _KNOWN for cell in first.split(delimiter)))


def _columns(header: list[str]) -> list[_Column]:
    by_code = _by_code(header)
    columns = [
        _column(index, cell, *found)
        for index, cell in enumerate(header)
        if (found := _BY_NAME.get(cell.upper()) or by_code.get(cell))
    ]
    if not columns:
        raise Unusable("NO_KNOWN_COLUMN", "head the columns phq-9.1, gad-7.1 and so on, or with LOINC item codes")
    times = Counter((column.instrument, column.item) for column in columns)
    repeated = [column.header for column in columns if times[column.instrument, column.item] > 1]
    if repeated:
        raise Unusable("DUPLICATE_COLUMN", f"{', '.join(repeated)}: give every item one column")
    return columns


def _by_code(header: list[str]) -> dict[str, tuple[Definition, Item]]:
    """What LOINC codes mean beside each other: the same item may be of a short instrument and of a longer one."""
    return {
        item.loinc: (form, item)
        for form in reversed(instruments.asked(instruments.KNOWN_CODES & set(header)))
        for item in form.items
        if item.loinc
    }


def _column(index: int, header: str, form: Definition, item: Item) -> _Column:
    values = instruments.takes(form.name, item.number)
    return _Column(index, header, instruments.in_contract(form), item.number, values)


def _cell(header: list[str], row: list[str], name: str) -> str:
    return next((cell.strip() for head, cell in zip(header, row, strict=True) if head.lower() == name), "")


def _referral(header: list[str], row: list[str]) -> str:
    written = _cell(header, row, _REFERRAL)
    if written and id_of(written) is None:
        raise Unusable("REFERRAL_ID_MALFORMED", f"{_REFERRAL}: write the id that intake gave the referral")
    return written


def _row_answers(row: list[str], width: int, columns: list[_Column]) -> dict[assessment_pb2.Instrument, dict[int, int]]:
    if len(row) != width:
        raise Unusable("ROW_RAGGED", f"it has {len(row)} cells where the header has {width}")
    filled = [(column, row[column.index].strip()) for column in columns if row[column.index].strip()]
    bad = [column.header for column, cell in filled if not _is_answer(cell, column)]
    if bad:
        raise Unusable("ANSWER_OUT_OF_RANGE", f"{', '.join(bad)}: give a whole number that the item takes, or nothing")
    if not filled:
        raise Unusable("NO_ANSWERS", "nothing is answered")
    answers: dict[assessment_pb2.Instrument, dict[int, int]] = {}
    for column, cell in filled:
        answers.setdefault(column.instrument, {})[column.item] = int(cell)
    return answers


def _is_answer(cell: str, column: _Column) -> bool:
    return bool(_NUMBER.fullmatch(cell)) and int(cell) in column.values


def _ignored(header: list[str], columns: list[_Column]) -> list[str]:
    """The other columns by their header, or by their place where that is empty or no name."""
    read = {column.index for column in columns}
    read |= {index for index, cell in enumerate(header) if cell.lower() in (_REFERRAL, _ANSWERED)}
    return [
        cell if cell.isprintable() and 0 < len(cell) <= _LONGEST_HEADER else f"column {index + 1}"
        for index, cell in enumerate(header)
        if index not in read
    ]
