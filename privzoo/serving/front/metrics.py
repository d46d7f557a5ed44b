"""Metrics for Prometheus, under TF Serving's names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.metrics_core import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS = tuple(10 * 1.8**power for power in range(33))  # microseconds, TF Serving's: up to 20 minutes


class _Requests:
    """`request_count` as TF Serving names it; the client library's own counters end in `_total`."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()

    def collect(self) -> Iterator[Metric]:
        metric = Metric(":tensorflow:serving:request_count", "The total number of requests.", "unknown")
        for (model, code), count in sorted(self.counts.items()):
            metric.add_sample(metric.name, {"model_name": model, "status": code}, count)
        yield metric


class Metrics:
    """Counts and times of a server's requests.

    Args:
        path: at which the REST interface answers with them.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._registry = CollectorRegistry()
        self._requests = _Requests()
        self._registry.register(self._requests)
        self._latency = Histogram(
            ":tensorflow:serving:request_latency",
            "Distribution of wall time (in microseconds) for a request.",
            ["model_name", "API", "entrypoint"],
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._runtime = Histogram(
            ":tensorflow:serving:runtime_latency",
            "Distribution of wall time (in microseconds) for the TensorFlow runtime, waiting for a batch included.",
            ["model_name", "API", "runtime"],
            buckets=BUCKETS,
            registry=self._registry,
        )

    def watch(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Adds a gauge that is read on request.

        Args:
            name: of the figure.
            text: what it means.
            value: gives it.
        """
        from prometheus_client import Gauge

        Gauge(name, text, registry=self._registry).set_function(value)

    def answered(self, model: str, api: str, entrypoint: str, seconds: float, code: str) -> None:
        """Notes a request that was answered or refused."""
        self._requests.counts[model, code] += 1
        if code == "OK":
            self._latency.labels(model, api, entrypoint).observe(seconds * 1e6)

    def ran(self, model: str, api: str, seconds: float) -> None:
        """Notes a run of a model."""
        self._runtime.labels(model, api, "TF1").observe(seconds * 1e6)

    def text(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return generate_latest(self._registry)
