"""From a definition file to a definition; a file that contradicts itself is refused before it scores anybody."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from stepway_intake.instruments.definition import (
    Band,
    Condition,
    Definition,
    Finding,
    Item,
    Licence,
    Risk,
    Scale,
    Sex,
    Skip,
    When,
)

Table = Mapping[str, Any]


def definition(stem: str, files: Mapping[str, Table]) -> Definition:
    """Read one of some files; `like` names another whose tables count where this one has none of its own.

    Raises ValueError with the file's name.
    """
    own = files[stem]
    try:
        return _checked(_definition({**files[own["like"]], **own} if "like" in own else own))
    except (KeyError, TypeError, ValueError) as problem:
        raise ValueError(f"{stem}: {problem!r}") from problem


def numbers(written: str) -> tuple[int, ...]:
    """`1-3,8` is 1, 2, 3 and 8."""
    return tuple(number for part in written.split(",") for number in _range(*map(int, part.split("-"))))


def _range(first: int, last: int | None = None) -> range:
    return range(first, (first if last is None else last) + 1)


def _definition(file: Table) -> Definition:
    return Definition(
        name=file["name"],
        version=file["version"],
        rule=file["rule"],
        title=file["title"],
        window_days=file["window_days"],
        licence=Licence(file["licence"]),
        credit=file["credit"],
        current=file.get("current", False),
        items=tuple(item for group in file["items"] for item in _items(group)),
        scales=tuple(_scale(each) for each in file.get("scales", ())),
        findings=tuple(_finding(each) for each in file.get("findings", ())),
        risks=tuple((Risk(each["risk"]), _when(each["when"])) for each in file.get("risks", ())),
        banded_by_risk=file.get("banded_by_risk", False),
        skips=tuple(Skip(_when(each["when"]), numbers(each["items"])) for each in file.get("skips", ())),
        substance_use=_when(file.get("substance_use", ())),
        lifted=_when(file.get("lifted", ())),
        panel_loinc=file.get("panel_loinc", ""),
        total_loinc=file.get("total_loinc", ""),
        answer_codes=file.get("answer_codes", {}),
    )


def _items(group: Table) -> Iterable[Item]:
    """Items in a row that take the same values."""
    of_them = numbers(group["numbers"])
    codes = group.get("loinc", [""] * len(of_them))
    values, required = numbers(group["values"]), group.get("required", True)
    return [Item(number, values, code, required) for number, code in zip(of_them, codes, strict=True)]


def _scale(file: Table) -> Scale:
    return Scale(
        name=file["name"],
        items=numbers(file["items"]),
        reversed=frozenset(numbers(file["reversed"])) if "reversed" in file else frozenset(),
        proratable=file.get("proratable", 0),
        bands=tuple((lowest, Band(band)) for band, lowest in file.get("bands", {}).items()),
        percent=file.get("percent", False),
    )


def _finding(file: Table) -> Finding:
    """A finding of one case is a yes or a no."""
    cases = tuple((each["is"], _when(each["when"])) for each in file.get("cases", ()))
    return Finding(file["name"], cases or (("yes", _when(file["when"])),), file.get("otherwise", "no"))


def _when(alternatives: Iterable[Iterable[Table]]) -> When:
    return tuple(tuple(_condition(each) for each in alternative) for alternative in alternatives)


_READ: Mapping[str, Callable[[Any], Any]] = {
    "items": numbers,
    "sexes": lambda names: frozenset(Sex(name) for name in names),
    "counted_from_in": lambda own: {int(item): lowest for item, lowest in own.items()},
}


def _condition(file: Table) -> Condition:
    return Condition(**{name: _READ.get(name, _as_it_is)(value) for name, value in file.items()})


def _as_it_is(value: Any) -> Any:
    return value


def _checked(read: Definition) -> Definition:
    known, scales = set(read.by_number), {scale.name for scale in read.scales}
    lists = [each.items for each in read.scales] + [each.items for each in read.skips]
    named = {item for items in (*lists, *(each.items for each in _conditions(read))) for item in items}
    if len(known) != len(read.items) or not named <= known:
        raise ValueError("it numbers an item twice, or names one that it does not have")
    if not {each.scale for each in _conditions(read) if each.scale} <= scales:
        raise ValueError("it names a scale that it does not have")
    if not all(_ascend([lowest for lowest, _ in scale.bands]) for scale in read.scales):
        raise ValueError("bands begin at nought and ascend")
    return read


def _ascend(lowest: list[int]) -> bool:
    return lowest == sorted(set(lowest)) and lowest[:1] in ([], [0])


def _conditions(read: Definition) -> list[Condition]:
    whens = [
        *(when for finding in read.findings for _, when in finding.cases),
        *(when for _, when in read.risks),
        *(skip.when for skip in read.skips),
        read.substance_use,
        read.lifted,
    ]
    return [condition for when in whens for alternative in when for condition in alternative]
