import sys
import threading
import timeit

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from apx.clock import ManualClock
from apx.telemetry.instruments import Age, Counter, Gauge, Histogram, Info
from apx.telemetry.labels import Label


def product() -> Label:
    return Label("product", limit=3)


def shown(registry: CollectorRegistry) -> dict[str, float]:
    lines = generate_latest(registry).decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


def test_a_counter_is_shown_with_its_labels() -> None:
    registry = CollectorRegistry()
    counter = Counter("apx_calls_total", "Calls.", (product(), Label("result", ("ok", "bad"))), registry=registry)
    counter.inc("orders", "ok")
    counter.add(2, "orders", "ok")
    assert shown(registry) == {'apx_calls_total{product="orders",result="ok"}': 3.0}


def test_a_metric_without_labels_is_shown_before_anything_happened() -> None:
    registry = CollectorRegistry()
    Counter("apx_calls_total", "Calls.", registry=registry)
    assert shown(registry) == {"apx_calls_total": 0.0}


def test_a_wrong_number_of_labels_is_refused() -> None:
    with pytest.raises(ValueError, match=r"apx_calls_total takes the labels \('product',\)"):
        Counter("apx_calls_total", "Calls.", (product(),)).inc("orders", "extra")


def test_a_gauge_goes_up_and_down() -> None:
    gauge = Gauge("apx_open", "Open.", (product(),))
    gauge.inc("orders")
    gauge.inc("orders")
    gauge.dec("orders")
    assert gauge.value("orders") == 1.0


def test_a_gauge_reads_its_source_when_it_is_collected() -> None:
    registry = CollectorRegistry()
    gauge = Gauge("apx_lag_seconds", "Lag.", registry=registry)
    gauge.read(lambda: 0.5)
    assert shown(registry) == {"apx_lag_seconds": 0.5}


def test_clearing_a_gauge_drops_its_series() -> None:
    registry = CollectorRegistry()
    gauge = Gauge("apx_waiting", "Waiting.", (product(),), registry=registry)
    gauge.set(4, "orders")
    gauge.clear()
    assert shown(registry) == {}


def test_a_histogram_counts_values_up_to_and_at_each_bound() -> None:
    registry = CollectorRegistry()
    histogram = Histogram("apx_size_bytes", "Size.", buckets=(1.0, 2.0), registry=registry)
    for value in (0.5, 1.0, 1.5, 9.0):
        histogram.observe(value)
    assert shown(registry) == {
        'apx_size_bytes_bucket{le="1.0"}': 2.0,
        'apx_size_bytes_bucket{le="2.0"}': 3.0,
        'apx_size_bytes_bucket{le="+Inf"}': 4.0,
        "apx_size_bytes_count": 4.0,
        "apx_size_bytes_sum": 12.0,
    }


def test_an_info_shows_only_the_last_value() -> None:
    registry = CollectorRegistry()
    info = Info("apx_active_info", "Active.", (product(), Label("digest")), registry=registry)
    info.show("orders", "aaa")
    info.show("orders", "bbb")
    assert shown(registry) == {'apx_active_info{digest="bbb",product="orders"}': 1.0}


def test_an_info_that_is_hidden_is_gone() -> None:
    registry = CollectorRegistry()
    info = Info("apx_active_info", "Active.", (product(), Label("digest")), registry=registry)
    info.show("orders", "aaa")
    info.hide("orders")
    assert shown(registry) == {}


def test_an_age_grows_until_it_is_touched() -> None:
    clock = ManualClock()
    age = Age("apx_store_age_seconds", "Age.", clock=clock)
    age.touch()
    clock.advance(7)
    grown = age.value()
    age.touch()
    assert (grown, age.value()) == (7.0, 0.0)


def test_an_age_is_absent_where_nothing_is_expected_and_counts_from_the_expectation() -> None:
    registry, clock = CollectorRegistry(), ManualClock()
    age = Age("apx_store_age_seconds", "Age.", registry=registry, clock=clock)
    absent = shown(registry)
    age.expect()
    clock.advance(3)
    assert (absent, shown(registry)) == ({}, {"apx_store_age_seconds": 3.0})


def test_a_closed_label_collapses_every_other_value() -> None:
    counter = Counter("apx_calls_total", "Calls.", (Label("result", ("ok", "bad")),))
    counter.inc("surprise")
    counter.inc("surprise")
    assert counter.value("other") == 2.0


def test_ten_thousand_names_make_no_more_series_than_the_label_allows() -> None:
    registry = CollectorRegistry()
    counter = Counter("apx_calls_total", "Calls.", (product(),), registry=registry)
    for n in range(10_000):
        counter.inc(f"product-{n}")
    series = shown(registry)
    assert len(series) <= 4
    assert sum(series.values()) == 10_000


def test_an_unknown_product_counts_as_other_and_a_gone_one_leaves_no_series() -> None:
    registry, label = CollectorRegistry(), product()
    counter = Counter("apx_calls_total", "Calls.", (label,), registry=registry)
    label.know(["orders", "old"])
    counter.inc("orders")
    counter.inc("old")
    counter.inc("forged")
    label.know(["orders"])
    assert shown(registry) == {'apx_calls_total{product="orders"}': 1.0, 'apx_calls_total{product="other"}': 1.0}


def test_products_that_went_make_room_for_new_ones() -> None:
    label = product()
    for generation in range(10):
        names = [f"product-{generation}-{n}" for n in range(2)]
        label.know(names)
        assert [label.admit(name) for name in names] == names


@pytest.fixture
def hasty_threads() -> object:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield None
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hasty_threads")
def test_no_count_is_lost_between_threads() -> None:
    counter = Counter("apx_calls_total", "Calls.", (product(),))
    histogram = Histogram("apx_size_bytes", "Size.", (product(),), buckets=(1.0, 2.0))

    def count() -> None:
        for _ in range(20_000):
            counter.inc("orders")
            histogram.observe(1.5, "orders")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (counter.value("orders"), histogram.count("orders")) == (80_000.0, 80_000)


def best_us(call: str, **names: object) -> float:
    return min(timeit.repeat(call, globals=names, number=5000, repeat=7)) / 5000 * 1e6


def test_counting_costs_less_than_ten_empty_calls_with_the_same_arguments() -> None:
    counter = Counter("apx_calls_total", "Calls.", (product(), Label("a", ("x",)), Label("b", ("y",))))
    empty = best_us("f('orders', 'x', 'y')", f=lambda *_: None)
    assert best_us("f('orders', 'x', 'y')", f=counter.inc) < 10 * empty


def test_observing_costs_less_than_fifteen_empty_calls_with_the_same_arguments() -> None:
    histogram = Histogram("apx_size_bytes", "Size.", (product(),), buckets=[2.0**n for n in range(16)])
    empty = best_us("f(30000.0, 'orders')", f=lambda *_: None)
    assert best_us("f(30000.0, 'orders')", f=histogram.observe) < 15 * empty
