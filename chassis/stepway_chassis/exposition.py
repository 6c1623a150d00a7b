"""Where metrics go: to whoever scrapes /metrics, and to an OTLP collector."""

from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import Counter, Histogram, ObservableGauge
from opentelemetry.sdk.metrics.export import CardinalityLimits, MetricReader, PeriodicExportingMetricReader
from prometheus_client import CollectorRegistry, start_http_server

from stepway_chassis.logs import log

_ON_EVERY_LINE = frozenset({"service.name", "stepway.cell"})  # what is shown of the resource beside each number
_MOST_SERIES: CardinalityLimits = dict.fromkeys(
    (Counter, Histogram, ObservableGauge), 50_000
)  # sites x RPCs x codes, and room
_PUSH_MS = 15_000
_PUSH_WITHIN_S = 2


class Scraped(PrometheusMetricReader):
    """Answers GET /metrics at "host:port", in a thread of its own.

    That the port is taken is logged and keeps nobody from being served: whoever scrapes will miss this process.
    """

    def __init__(self, listen: str) -> None:
        host, _, port = listen.rpartition(":")
        registry = CollectorRegistry()
        super().__init__(
            scope_info_enabled=False,
            resource_attribute_filter=_ON_EVERY_LINE.__contains__,
            registry=registry,
            cardinality_limits=_MOST_SERIES,
        )
        self.port = 0
        try:
            self._server, _ = start_http_server(int(port), host, registry)
        except OSError as error:
            log.error("metrics.unserved", port=int(port), error_type=type(error).__name__)
        else:
            self.port = self._server.server_port
            log.info("metrics.listening", port=self.port)

    def shutdown(self, timeout_millis: float = 0, **more: object) -> None:
        super().shutdown(timeout_millis)
        if self.port:
            self._server.shutdown()
            self._server.server_close()


def pushed(endpoint: str) -> MetricReader:
    """Sends to an OTLP collector every 15 seconds."""
    plain = not endpoint.startswith("https://")
    exporter = OTLPMetricExporter(endpoint=endpoint, insecure=plain, timeout=_PUSH_WITHIN_S)
    return PeriodicExportingMetricReader(exporter, _PUSH_MS, cardinality_limits=_MOST_SERIES)
