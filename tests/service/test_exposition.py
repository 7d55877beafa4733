"""service.exposition: several registries in one answer."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.parser import text_string_to_metric_families

from service.exposition import merged_text


def counted(frames: int) -> CollectorRegistry:
    registry = CollectorRegistry()
    Counter("frames", "Frames.", ["reason"], registry=registry).labels("late").inc(frames)
    Histogram("seconds", "Time.", buckets=(1,), registry=registry).observe(frames)
    return registry


def test_every_series_has_its_replica_and_each_family_stands_once() -> None:
    text = merged_text({"one": list(counted(2).collect()), "two": list(counted(3).collect())})
    families = {each.name: each for each in text_string_to_metric_families(text.decode())}
    frames = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for sample in families["frames"].samples
    }
    assert frames["frames_total", (("reason", "late"), ("replica", "one"))] == 2
    assert frames["frames_total", (("reason", "late"), ("replica", "two"))] == 3
    assert families["frames"].type == "counter"
    assert families["seconds"].type == "histogram"
    assert text.count(b"# TYPE frames_total counter") == 1
    assert text.count(b"# TYPE seconds histogram") == 1


def test_of_no_replica_there_is_nothing() -> None:
    assert merged_text({}) == b""
