"""service.quota: how often, and how many at a time."""

from __future__ import annotations

import pytest

from service.quota import Buckets, Places, address_group


def test_a_full_bucket_passes_its_minute_at_once_and_then_one_at_a_time() -> None:
    buckets = Buckets(6)
    for _ in range(6):
        assert buckets.wait_s("a", 0) == 0
        buckets.take("a", 0)
    assert buckets.wait_s("a", 0) == pytest.approx(10)
    assert buckets.retry_after_s("a", 0.5) == 10
    assert buckets.wait_s("b", 0) == 0, "another one has a bucket of its own"
    assert buckets.wait_s("a", 10) == 0
    buckets.take("a", 10)
    assert buckets.wait_s("a", 10) == pytest.approx(10)


def test_no_limit_is_no_wait_and_no_memory() -> None:
    buckets = Buckets(0)
    buckets.take("a", 0)
    assert buckets.wait_s("a", 0) == 0
    assert not buckets._levels


def test_the_memory_is_bounded() -> None:
    buckets = Buckets(1)
    for number in range(10_050):
        buckets.take(str(number), 0)
    assert len(buckets._levels) == 10_000
    assert buckets.wait_s("10049", 0) > 0


def test_places_are_given_back() -> None:
    places = Places(1)
    assert places.enter("a")
    assert not places.enter("a")
    assert places.enter("b")
    places.leave("a")
    assert places.enter("a")
    assert all(Places(0).enter("a") for _ in range(50))


@pytest.mark.parametrize(
    ("host", "group"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("testclient", "testclient"),
        (None, "unknown"),
    ],
)
def test_an_address_is_a_host_of_ipv4_or_a_net_of_ipv6(host: str | None, group: str) -> None:
    assert address_group(host) == group
