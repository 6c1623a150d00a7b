"""The instruments that intake can score; another one is added here, as data."""

from stepway_intake.instruments.definition import Band, Definition, Item, Licence, Syndrome

_NOT_AT_ALL_TO_NEARLY_EVERY_DAY = (0, 1, 2, 3)
_LL358_3 = {"LA6568-5": 0, "LA6569-3": 1, "LA6570-1": 2, "LA6571-9": 3}


def _items(*loinc: str) -> tuple[Item, ...]:
    return tuple(Item(number, _NOT_AT_ALL_TO_NEARLY_EVERY_DAY, code) for number, code in enumerate(loinc, start=1))


# Cut-offs: LOINC LL382-3. Algorithm and prorating: Kroenke's manual and APA's DSM-5 severity measures.
PHQ_9 = Definition(
    name="phq-9",
    rule="phq-9/1",
    items=_items("44250-9", "44255-8", "44259-0", "44254-1", "44251-7", "44258-2", "44252-5", "44253-3", "44260-8"),
    bands=(
        (0, Band.MINIMAL),
        (5, Band.MILD),
        (10, Band.MODERATE),
        (15, Band.MODERATELY_SEVERE),
        (20, Band.SEVERE),
    ),
    proratable=2,
    panel_loinc="44249-1",
    total_loinc="44261-6",
    licence=Licence.PUBLIC,
    risk_item=9,
    syndrome=Syndrome(
        endorsed_from=2, endorsed_from_in={9: 1}, core_items=frozenset({1, 2}), major_from=5, other_from=2
    ),
    answer_codes=_LL358_3,
)

GAD_7 = Definition(
    name="gad-7",
    rule="gad-7/1",
    items=_items("69725-0", "68509-9", "69733-4", "69734-2", "69735-9", "69689-8", "69736-7"),
    bands=((0, Band.MINIMAL), (5, Band.MILD), (10, Band.MODERATE), (15, Band.SEVERE)),
    proratable=2,
    panel_loinc="69737-5",
    total_loinc="70274-6",
    licence=Licence.PUBLIC,
    answer_codes=_LL358_3,
)

ALL = (PHQ_9, GAD_7)
CURRENT = {each.name: each for each in ALL}
"""By name, the version that is meant where nobody names one."""
