"""The metrics of a running service as a test reads them."""

import asyncio
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from stepway_cli import scrape
from tests.network import Network


@dataclass(frozen=True)
class Scrape:
    """One answer of /metrics."""

    text: str

    @property
    def metrics(self) -> list[Metric]:
        return list(text_string_to_metric_families(self.text))

    def sum(self, sample: str, **labels: str) -> float:
        """All samples of this name with these labels together."""
        return sum(
            each.value
            for metric in self.metrics
            for each in metric.samples
            if each.name == sample and labels.items() <= each.labels.items()
        )

    def sites(self, metric: str) -> set[str]:
        """Beside which sites a metric is shown."""
        samples = (each for found in self.metrics if found.name == metric for each in found.samples)
        return {each.labels.get("stepway_site", "") for each in samples}


async def scraped(network: Network, service: str) -> Scrape:
    return Scrape(await asyncio.to_thread(scrape.page, network.platform.metrics_address(service)))
