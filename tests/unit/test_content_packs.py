"""Words of instruments: what is shipped, and what a site may install."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from stepway_chassis.errors import InvalidInput
from stepway_intake.domain.content_packs import ContentPack, install, wording_of
from stepway_intake.instruments.catalogue import CURRENT, find
from stepway_intake.instruments.definition import Definition, Licence
from stepway_intake.instruments.words import SHIPPED, ItemWording

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
SCOFF, PHQ_9 = CURRENT["scoff"], CURRENT["phq-9"]
WORDS = tuple(ItemWording(item, f"Question {item}?", ("No", "Yes")) for item in range(1, 6))


def a_pack(definition: Definition = SCOFF, **changes: Any) -> ContentPack:
    given = {"language": "en", "notice": "© somebody", "permission": "letter 17/2026", "items": WORDS, **changes}
    about = {"instrument": definition.name, "version": definition.version}
    return ContentPack(id=UUID(int=1), installed_by="lead-1", installed_at=NOON, **about, **given)


def test_what_is_shipped_is_public_and_words_every_item_and_value() -> None:
    assert {name for name, _ in SHIPPED} == {"phq-9", "gad-7", "audit", "audit-c", "pcl-5"}
    for (name, _), wording in SHIPPED.items():
        definition = CURRENT[name]
        assert definition.licence is Licence.PUBLIC
        assert definition.credit in wording.notice
        assert [each.item for each in wording.items] == [item.number for item in definition.items]
        assert all(len(each.answers) == len(definition.by_number[each.item].values) for each in wording.items)


def test_without_a_pack_an_instrument_that_needs_permission_has_no_words() -> None:
    assert wording_of(SCOFF, "en", None) is None
    assert wording_of(PHQ_9, "en", None) is SHIPPED["phq-9", "en"]
    assert wording_of(PHQ_9, "fr", None) is None
    assert wording_of(find("pcl-5", "week"), "en", None) is None  # its words ask about another month


def test_what_a_site_has_installed_comes_before_what_is_shipped() -> None:
    installed = wording_of(PHQ_9, "en", a_pack(PHQ_9))
    assert installed is not None
    assert (installed.notice, installed.items) == ("© somebody", WORDS)


@pytest.mark.parametrize("permission", ["", "  "])
def test_words_that_need_permission_are_not_installed_without_one(permission: str) -> None:
    assert install(a_pack(), SCOFF) == a_pack()
    with pytest.raises(InvalidInput) as refused:
        install(a_pack(permission=permission), SCOFF)
    assert (refused.value.reason, refused.value.field) == ("PERMISSION_MISSING", "permission")


def test_a_translation_of_a_public_instrument_needs_none() -> None:
    words = tuple(ItemWording(item, "Frage") for item in range(1, 8))
    assert install(a_pack(CURRENT["gad-7"], permission="", language="de", items=words), CURRENT["gad-7"])


@pytest.mark.parametrize(
    ("items", "reason"),
    [
        (WORDS[1:], "WORDING_INCOMPLETE"),
        ((*WORDS, ItemWording(6, "One more?")), "ITEM_UNKNOWN"),
        ((*WORDS[1:], ItemWording(1, "Question?", ("No", "Perhaps", "Yes"))), "ANSWERS_MISCOUNTED"),
    ],
)
def test_words_that_do_not_fit_the_form_are_refused(items: tuple[ItemWording, ...], reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        install(a_pack(items=items), SCOFF)
