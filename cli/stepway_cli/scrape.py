"""What a service answers to whoever scrapes its metrics."""

from urllib.request import ProxyHandler, build_opener

from prometheus_client.parser import text_string_to_metric_families

WITHIN_SECONDS = 2


def page(address: str) -> str:
    """The text of /metrics at "host:port", asked for directly. Raises OSError."""
    directly = build_opener(ProxyHandler({}))
    with directly.open(f"http://{address}/metrics", timeout=WITHIN_SECONDS) as answer:
        return str(answer.read(), encoding="utf-8")


def by_site(text: str, metric: str) -> dict[str, float]:
    """The values of a gauge by site, each with the other labels added up."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples if family.name == metric else ():
            site = sample.labels["stepway_site"]
            found[site] = found.get(site, 0.0) + sample.value
    return found
