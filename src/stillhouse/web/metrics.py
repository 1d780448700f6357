"""What the operator's Prometheus reads at /metrics.

Labels are route templates, methods, statuses and index names (the first thousand): never an id,
a raw path or a key. Every service has a registry of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from stillhouse.errors import VectorError
from stillhouse.vectors import VectorStore

MEDIA_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"
_MOST_INDEXES: Final = 1_000
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"})
_BUCKETS: Final = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0,
)  # fmt: skip


class Metrics:
    """Counters of one service. Cheap enough for every request."""

    def __init__(self, store: VectorStore) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "stillhouse_requests",
            "Requests answered.",
            ("route", "method", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "stillhouse_request_seconds",
            "Seconds from a request's headers to the end of its answer.",
            ("route",),
            registry=self.registry,
            buckets=_BUCKETS,
        )
        self.in_flight = Gauge(
            "stillhouse_requests_in_flight", "Requests under way.", registry=self.registry
        )
        self.searched = Counter(
            "stillhouse_searched_vectors", "Vectors searched by.", registry=self.registry
        )
        self.added = Counter(
            "stillhouse_added_items",
            "Items of accepted batches, by what became of them.",
            ("status",),
            registry=self.registry,
        )
        self.deleted = Counter(
            "stillhouse_deleted_items", "Items deleted by request.", registry=self.registry
        )
        self.merged = Counter(
            "stillhouse_merged_items", "Items that merges brought over.", registry=self.registry
        )
        self.registry.register(_Indexes(store))
        ProcessCollector(registry=self.registry)
        self._request = lru_cache(maxsize=4096)(self._requests.labels)
        self._taken = lru_cache(maxsize=256)(self._seconds.labels)

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """One request is over."""
        method = method if method in _METHODS else "other"
        self._request(route, method, str(status)).inc()
        self._taken(route).observe(seconds)

    def page(self) -> bytes:
        """Everything, as Prometheus reads it. Asks the store: not for the event loop."""
        return generate_latest(self.registry)


class _Indexes(Collector):
    """What the store holds at the moment of the scrape."""

    def __init__(self, store: VectorStore) -> None:
        self._store = store

    def describe(self) -> Iterable[Metric]:
        """Nothing beforehand: registering must not ask the store."""
        return ()

    def collect(self) -> Iterable[Metric]:
        writable = GaugeMetricFamily(
            "stillhouse_store_writable", "1 while the store acknowledges writes."
        )
        items = GaugeMetricFamily("stillhouse_index_items", "Items of an index.", labels=("index",))
        size = GaugeMetricFamily(
            "stillhouse_index_bytes", "What an index takes on disk.", labels=("index",)
        )
        count = GaugeMetricFamily("stillhouse_indexes", "Indexes.")
        try:
            found = self._store.indexes()
            writable.add_metric((), float(self._store.health().writable))
        except VectorError:  # a scrape of a store that fails still tells of the requests
            writable.add_metric((), 0.0)
        else:
            count.add_metric((), len(found))
            for info in found[:_MOST_INDEXES]:
                items.add_metric((info.name,), info.count)
                size.add_metric((info.name,), info.bytes)
        return writable, count, items, size
