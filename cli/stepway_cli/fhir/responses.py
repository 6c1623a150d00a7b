"""From a FHIR QuestionnaireResponse to sheets of answers."""

from collections.abc import Callable, Iterator

from stepway_cli import instruments
from stepway_cli.fhir import sheets
from stepway_cli.fhir.elements import Element
from stepway_cli.fhir.forms import Form, code_of, instrument_of
from stepway_cli.fhir.sheets import Said, Sheet
from stepway_cli.findings import Note
from stepway_cli.times import Times

_TAKEN = ("completed", "amended")


def read(response: Element, form_of: Callable[[str], Form], times: Times, notes: list[Note]) -> list[Sheet]:
    """Every instrument that was answered in it. Raises Unusable.

    An item goes by the LOINC code that its Questionnaire gives it, else by its linkId: a LOINC code, or the number on
    the form of an instrument that the questionnaire is as a whole. `form_of` finds a Questionnaire by its canonical
    address; `times` reads when the person answered, also where the response does not say.
    """
    sheets.must_be(response, "status", _TAKEN, "RESPONSE_NOT_COMPLETED")
    canonical = response.text("questionnaire")
    known = form_of(canonical)
    said = list(_said(response, known))
    whole = instrument_of(canonical, known)
    forms = [whole] if whole else instruments.asked({each.code for each in said})
    if not forms:
        raise sheets.unknown("its items are")
    at = sheets.answered_at(response, ("authored",), times)
    return sheets.sheets(response.name, said, forms, at, notes)


def _said(holder: Element, known: Form) -> Iterator[Said]:
    """Every item, those inside groups and inside answers too."""
    for item in holder.many("item"):
        link, answers = item.text("linkId"), item.many("answer")
        for given in answers or [Element(item.name, item.path, {})]:
            yield sheets.answer(item.path, code_of(link, known), given, known.weights.get(link))
        for nested in (item, *answers):
            yield from _said(nested, known)
