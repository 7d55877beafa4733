"""What Prometheus reads of several replicas in one answer: their series, told apart by a label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

__all__ = ["REPLICA_LABEL", "merged_text"]

REPLICA_LABEL = "replica"


def merged_text(replicas: Mapping[str, Sequence[Metric]]) -> bytes:
    """The exposition of all replicas in Prometheus' text format.

    Args:
        replicas: What each replica's registry collected, by the replica's name.

    Returns:
        Each sample with the label `replica`; a sum over it is what all of them counted.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Merged(replicas))
    return generate_latest(registry)


class _Merged(Collector):
    def __init__(self, replicas: Mapping[str, Sequence[Metric]]) -> None:
        self._replicas = replicas

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        for name, replica in self._replicas.items():
            for family in replica:
                merged = families.setdefault(
                    family.name, Metric(family.name, family.documentation, family.type, family.unit)
                )
                merged.samples += [
                    sample._replace(labels={**sample.labels, REPLICA_LABEL: name})
                    for sample in family.samples
                ]
        return families.values()
