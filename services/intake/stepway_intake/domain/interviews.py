"""Interviews: what the sections of a workup say of the facts that a level of care is suggested from."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date
from operator import itemgetter

from stepway_intake.domain.facts import GRADES, Facts
from stepway_intake.domain.sections import Form, Kind

Heard = tuple[str, str, bool]
"""A fact, its value, and whether it may be worse than that."""

_GRADED = ("withdrawal_risk", "medical_instability", "psychiatric_instability")
_GRADES = {f"CLINICAL_RISK_{grade.upper()}": grade for grade in GRADES}
_SUPPORTS = {"SUPPORT_STRONG": "strong", "SUPPORT_SOME": "some", "SUPPORT_WEAK": "some", "SUPPORT_HARMFUL": "unsafe"}
_DANGEROUS = frozenset({"WITHDRAWAL_SIGN_SEIZURE", "WITHDRAWAL_SIGN_HALLUCINATIONS", "WITHDRAWAL_SIGN_DELIRIUM"})
_NOT_CLEARED = Facts({"medical_instability": "moderate"}, frozenset({"medical_instability"}))


def of_late(workups: Iterable[tuple[date, Mapping[str, Form]]], since: date) -> Mapping[str, Form]:
    """Of each kind the newest form that is not older; each workup comes with the day that it began.

    An interview is of that day, an evaluation of its own: it may have been made elsewhere, and long before.
    """
    forms = ((_day_of(form, began), kind, form) for began, sections in workups for kind, form in sections.items())
    return {kind: form for day, kind, form in sorted(forms, key=itemgetter(0)) if day >= since}


def _day_of(form: Form, began: date) -> date:
    return date.fromisoformat(form["evaluated_on"]) if "evaluated_on" in form else began


def facts_in(sections: Mapping[str, Form]) -> Facts:
    """What was heard, by kind of section; what nobody was asked, or would not say, stays unknown."""
    heard = [each for kind, read in _READERS.items() if kind in sections for each in read(sections[kind])]
    heard.sort(key=lambda each: not each[2])  # of two the one that is sure counts, and of two of these the later one
    known = {fact: value for fact, value, _ in heard}
    sure = {fact for fact, _, may_be_worse in heard if not may_be_worse}
    return Facts(known, frozenset(known.keys() - sure))


def standing_in(sections: Mapping[str, Form]) -> Facts:
    """What no word undoes: whoever was not cleared to come is unstable, whatever the grade, until they are examined."""
    evaluation = sections.get(Kind.MEDICAL_EVALUATION, {})
    return _NOT_CLEARED if evaluation.get("clearance") == "MEDICAL_CLEARANCE_NOT_CLEARED" else Facts({})


def _evaluation(form: Form) -> Iterator[Heard]:
    """The examiner's word, in the same grades."""
    yield from ((fact, _GRADES[form[fact]], False) for fact in _GRADED if form.get(fact) in _GRADES)


def _substance_use(form: Form) -> Iterator[Heard]:
    """Whoever has been in danger when they stopped may be again; how much is the examiner's to say."""
    signs = {sign for each in form.get("substances", ()) for sign in each.get("withdrawal_signs", ())}
    if form.get("none"):
        yield "withdrawal_risk", "none", False
    elif signs & _DANGEROUS:
        yield "withdrawal_risk", "moderate", True


def _supports(form: Form) -> Iterator[Heard]:
    """Unless somebody has said that home is safe, it may not be."""
    said_safe = form.get("safe_at_home") == "TOLD_YES"
    if form.get("safe_at_home") == "TOLD_NO":
        yield "supports", "unsafe", False
    elif form.get("at_home") in _SUPPORTS:
        may_be_worse = form["at_home"] == "SUPPORT_WEAK" or not said_safe
        yield "supports", _SUPPORTS[form["at_home"]], may_be_worse and form["at_home"] != "SUPPORT_HARMFUL"


def _responsibilities(form: Form) -> Iterator[Heard]:
    """A form that does not say so leaves it open: nobody may have been asked."""
    if form.get("able_to_manage"):
        yield "responsibilities", "managed", False


_READERS: Mapping[Kind, Callable[[Form], Iterator[Heard]]] = {
    Kind.SUBSTANCE_USE: _substance_use,
    Kind.SUPPORTS: _supports,
    Kind.RESPONSIBILITIES: _responsibilities,
    Kind.MEDICAL_EVALUATION: _evaluation,
}
"""In this order: the examiner has the last word."""
