"""Reading a file of answers: what is taken, and what is refused by row and column."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepway.intake.v1.assessment_pb2 import INSTRUMENT_GAD_7, INSTRUMENT_PHQ_9
from stepway_cli.answers import Answers, PersonAnswers, read_answers
from tests.data import DEMO_DATA

fixed = settings(derandomize=True, max_examples=25, deadline=None)

PHQ_9_HEADER = "D1,D2,D3,D4,D5,D6,D7,D8,D9"


def refusals(content: str | bytes) -> list[tuple[str, str]]:
    return [(refused.name, refused.reason) for refused in read_answers(content).refused]


def test_a_row_is_one_person_and_an_empty_cell_an_unanswered_item():
    assert read_answers(f"{PHQ_9_HEADER}\n1,,3,0,0,0,0,0,\n").people == [
        PersonAnswers(2, {INSTRUMENT_PHQ_9: {1: 1, 3: 3, 4: 0, 5: 0, 6: 0, 7: 0, 8: 0}})
    ]


def test_both_instruments_are_read_from_one_row():
    (person,) = read_answers("D1,D9,A1,A7\n3,1,2,0\n").people
    assert person.answers == {INSTRUMENT_PHQ_9: {1: 3, 9: 1}, INSTRUMENT_GAD_7: {1: 2, 7: 0}}


def test_columns_may_be_headed_with_loinc_item_codes():
    (person,) = read_answers("44250-9,44260-8,69736-7\n3,1,2\n").people
    assert person.answers == {INSTRUMENT_PHQ_9: {1: 3, 9: 1}, INSTRUMENT_GAD_7: {7: 2}}


def test_an_instrument_of_which_nothing_is_answered_is_left_out():
    (person,) = read_answers("D1,D2,A1\n1,1,\n").people
    assert list(person.answers) == [INSTRUMENT_PHQ_9]


def test_other_columns_are_named_and_ignored():
    read = read_answers("name,D1,,S1\nsomebody,1,x,9\n")
    assert read.ignored_columns == ["name", "column 3", "S1"]
    assert read.people == [PersonAnswers(2, {INSTRUMENT_PHQ_9: {1: 1}})]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_the_delimiter_and_the_line_ending_of_a_spreadsheet_do_not_matter(delimiter, ending):
    content = f"D1,D2{ending}1,2{ending}".replace(",", delimiter)
    assert read_answers(content).people == [PersonAnswers(2, {INSTRUMENT_PHQ_9: {1: 1, 2: 2}})]


@pytest.mark.parametrize("content", ["\ufeffD1\n1\n", "\ufeffD1\n1\n".encode(), b'"D1"\n"1"\n', " d1 \n 1 \n"])
def test_a_byte_order_mark_quotes_spaces_and_small_letters_do_not_matter(content):
    assert read_answers(content).people == [PersonAnswers(2, {INSTRUMENT_PHQ_9: {1: 1}})]


@pytest.mark.parametrize("cell", ["4", "-1", "1.0", "yes", "1e0", "\u0661", "99999999999"])
def test_a_value_that_the_item_does_not_take_refuses_its_row_by_column(cell):
    (refused,) = read_answers(f"D1,D2,A1\n0,{cell},0\n").refused
    assert (refused.name, refused.reason) == ("row 2", "ANSWER_OUT_OF_RANGE")
    assert refused.message.startswith("D2:")


def test_a_value_that_another_version_of_the_instrument_takes_is_left_to_intake() -> None:
    read = read_answers("whodas-12.1\n5\n6\n")
    assert ([person.row_number for person in read.people], [each.name for each in read.refused]) == ([2], ["row 3"])


def test_a_refused_value_is_not_repeated():
    assert "Somebody" not in repr(read_answers("D1,D2\n0,Somebody\n"))


def test_one_bad_row_does_not_keep_the_others_out():
    read = read_answers("D1,D2\n1,1\n9,1\n\n,\n1,1,1\n2,2\n")
    assert [person.row_number for person in read.people] == [2, 7]
    assert [(refused.name, refused.reason) for refused in read.refused] == [
        ("row 3", "ANSWER_OUT_OF_RANGE"),
        ("row 5", "NO_ANSWERS"),
        ("row 6", "ROW_RAGGED"),
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "EMPTY_FILE"),
        (b"", "EMPTY_FILE"),
        ("\ufeff \n", "EMPTY_FILE"),
        (b"\xff\xfeD\x001\x00", "NOT_UTF8"),
        ("D1,D2\n", "NO_ROWS"),
        ("name,age\nsomebody,7\n", "NO_KNOWN_COLUMN"),
        ("D1,D2,D1\n1,1,1\n", "DUPLICATE_COLUMN"),
        ("D1,44250-9\n1,1\n", "DUPLICATE_COLUMN"),
        ('"D1\n1\n', "NOT_CSV"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(content, reason):
    assert refusals(content) == [("header", reason)]


def test_a_file_without_header_does_not_have_its_first_row_repeated():
    assert "Somebody" not in repr(read_answers("Somebody,1,2\nSomebody,0,0\n"))


def test_the_same_item_number_of_two_instruments_is_no_duplicate():
    assert "A1" not in read_answers("D1,D1,A1\n1,1,1\n").refused[0].message


def test_an_open_quote_keeps_the_rows_before_it():
    read = read_answers('D1,D2\n1,1\n2,"2\n3,3\n')
    assert [person.row_number for person in read.people] == [2]
    assert [(refused.name, refused.reason) for refused in read.refused] == [("row 3", "NOT_CSV")]


def test_our_own_demonstration_has_every_case_that_it_is_there_for():
    people = read_answers((DEMO_DATA / "answers.csv").read_bytes()).people
    forms = [person.answers[INSTRUMENT_PHQ_9] for person in people]
    assert len(people) == 6
    assert [form.get(9) for form in forms] == [1, 0, None, 0, 2, 0]
    assert [len(form) for form in forms] == [9, 9, 8, 9, 9, 8]


@fixed
@given(st.text(alphabet='D1A9,;\t\n\r"\x00\ufeff 0x', max_size=40) | st.binary(max_size=30))
def test_nothing_in_a_file_makes_reading_it_fail(content):
    assert isinstance(read_answers(content), Answers)
