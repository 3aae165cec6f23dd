"""Rows of events, on traces whose events are planted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from entropylens.measures.event_rows import (
    AFTER,
    BEFORE,
    COARSE,
    EVERY,
    FACTORS,
    MARGIN,
    Logs,
    jump_rule,
    of_detectors,
    of_events,
    of_model,
    of_surroundings,
    of_thresholds,
    spike_rule,
)  # fmt: skip
from entropylens.measures.injection import inject, jump_shape, spike_shape

STEPS, NEURONS = 1500, 512
SPIKES = np.array([300, 600, 900, 1200])


def logs(spikes: np.ndarray = SPIKES, jumps: np.ndarray = SPIKES + 6, amplitude: float = 0.4) -> Logs:
    """A loss that falls to 5 nats, with spikes; deaths that revive; sharpness that rises to the edge before a spike."""
    steps = np.arange(STEPS)
    losses = inject(5.0 + np.exp(-steps / 200), spike_shape(amplitude), spikes)
    dead = inject(np.zeros(STEPS), jump_shape(20, fall=20.0), jumps)
    probed = np.arange(0, STEPS, 10)
    until = np.array([min((s - p for s in SPIKES if s >= p), default=300) for p in probed])
    return Logs(
        losses=losses, dead=dead, active=np.full(STEPS, 0.4), grad_norm=1 + losses - 5, update_norm=np.ones(STEPS),
        second=np.ones(STEPS), sharpness_steps=probed, sharpness=200.0 - until, edge=100.0, n_neurons=NEURONS,
        floor=5.0,
    )  # fmt: skip


def test_a_model_s_row_counts_what_was_planted() -> None:
    row = of_model(logs())
    assert (row["spikes"], row["jumps"], row["collapses"], row["diverged"]) == (4, 4, 0, 0.0)
    assert row["spikes_1000"] == pytest.approx(1000 * 4 / 1400)
    assert row["height"] == pytest.approx(0.4, abs=0.02)
    assert row["dead_most"] == pytest.approx(20 / NEURONS)
    assert row["kl"] == pytest.approx(0.0, abs=0.01)
    assert row["auc_sharpness"] == pytest.approx(1.0)
    assert row["auc_deaths"] == pytest.approx(0.5)


@pytest.mark.parametrize(("lead", "led", "follows"), [(6, -1.0, 1.0), (-6, 1.0, -1.0), (60, 0.0, 0.0)])
def test_order_has_the_sign_of_what_comes_first(lead: int, led: float, follows: float) -> None:
    """`lead` is how many steps a jump comes after its spike."""
    row = of_model(logs(jumps=SPIKES + lead))
    assert row["led"] == led
    assert row["follows"] == follows
    assert row["near"] == abs(led)
    assert row["coincidence"] <= row["near"]
    assert (row["coincidence"] > 0.5) == (led != 0)


def test_without_events_nothing_meets() -> None:
    none = np.zeros(0, dtype=np.int64)
    row = of_model(logs(none, none))
    assert (row["spikes"], row["near"], row["led"], row["follows"], row["coincidence"]) == (0, 0, 0, 0, 0)
    assert np.isnan(row["height"])
    assert np.isnan(row["auc_sharpness"])
    assert list(of_events(logs(none, none))) == []
    assert list(of_surroundings(logs(none, none))) == []


def test_every_event_has_a_row_and_the_sharpness_before_it() -> None:
    rows = list(of_events(logs()))
    assert [r["onset"] for r in rows if r["event"] == "spike"] == pytest.approx(SPIKES, abs=2)
    assert [r["onset"] for r in rows if r["event"] == "jump"] == pytest.approx(SPIKES + 6, abs=1)
    spike = rows[0]
    assert spike["sharp"] == pytest.approx(2.0, abs=0.15)
    assert (spike["dead_before"], spike["dead_after"] > 0) == (0, True)


def test_a_rise_that_stays_is_a_collapse_and_divergence_ends_the_trace() -> None:
    whole = logs()
    risen = replace(whole, losses=whole.losses + 2.0 * (np.arange(STEPS) >= 1000))
    assert of_model(risen)["collapses"] == 1
    gone = whole.losses.copy()
    gone[700:] = np.nan
    diverged = of_model(replace(whole, losses=gone))
    assert (diverged["diverged"], diverged["spikes"], diverged["jumps"]) == (1.0, 2, 2)


def test_thresholds_are_varied_and_a_log_is_read_coarsely() -> None:
    rows = list(of_thresholds(logs()))
    by_factor = {r["value"]: r["spikes"] for r in rows if r["varied"] == "factor"}
    assert list(by_factor) == list(FACTORS)
    assert by_factor[1.0] == 4
    assert spike_rule(2.0).smallest == 2 * spike_rule().smallest
    assert jump_rule(NEURONS, 4.0).smallest == 21
    coarse = {r["value"]: r for r in rows if r["varied"] == "every"}
    assert list(coarse) == list(COARSE)
    assert coarse[100]["spikes"] < 4
    high = {r["value"]: r["jumps"] for r in of_thresholds(logs()) if r["varied"] == "factor"}
    assert (high[1.0], high[4.0]) == (4, 0)


def test_surroundings_are_the_average_around_onsets() -> None:
    rows = [r for r in of_surroundings(logs()) if r["event"] == "spike"]
    assert [r["offset"] for r in rows] == list(range(-BEFORE, AFTER + 1, EVERY))
    at = {r["offset"]: r for r in rows}
    assert at[-2]["rise"] == pytest.approx(0.0, abs=0.01)
    assert max(r["rise"] for r in rows) == pytest.approx(0.4, abs=0.05)
    assert at[4]["died"] == pytest.approx(0.0, abs=1e-9)
    assert at[10]["died"] == pytest.approx(20 / NEURONS, abs=0.01)
    assert at[0]["active"] == pytest.approx(0.4)
    assert at[0]["sharp"] == pytest.approx(np.log(2.0), abs=0.08)


def test_a_large_event_next_to_others_is_no_part_of_their_rise() -> None:
    """Of rises the median: one spike that is a hundred times as high does not show in the typical one."""
    whole = logs()
    high = replace(whole, losses=inject(whole.losses, spike_shape(40.0), np.array([340])))
    rows = [r for r in of_surroundings(high) if r["event"] == "spike"]
    assert max(r["rise"] for r in rows) == pytest.approx(0.4, abs=0.05)


def test_sharpness_below_zero_is_left_out_of_the_average() -> None:
    whole = logs()
    none = replace(whole, sharpness=np.full(len(whole.sharpness_steps), -1.0))
    assert all(np.isnan(r["sharp"]) for r in of_surroundings(none))


def test_a_lagging_second_moment_is_above_zero() -> None:
    here = logs()
    assert (here.lag[:10] > 0).all()  # the squared gradient is above what the optimizer takes it to be
    assert np.isnan(replace(here, second=np.zeros(STEPS)).lag).all()


def test_detectors_find_what_is_injected_and_say_nothing_in_quiet_steps() -> None:
    whole = logs()
    two = of_detectors([whole, replace(whole, losses=whole.losses + 1.0)])
    assert len(two) == 2
    for rows in two:
        assert [(r["event"], r["factor"]) for r in rows] == [(e, f) for e in ("spike", "jump") for f in FACTORS]
        for row in rows:
            assert row["amplitude"] == pytest.approx({"spike": 0.4, "jump": 20}[row["event"]], rel=0.05)
            assert row["injected"] > 0
            assert row["found"] == (1.0 if row["factor"] < 4 or row["event"] == "spike" else 0.0)  # 4 % are 21 neurons
            assert row["false_alarms"] == 0


def test_quiet_steps_are_those_far_from_where_sharpness_is_above_half_of_the_edge() -> None:
    whole = logs()
    calm = replace(whole, sharpness=np.where(whole.sharpness_steps == 700, 51.0, 49.0))
    last = int(calm.sharpness_steps[-1])
    expected = np.zeros(STEPS, dtype=bool)
    expected[spike_rule().start : last] = True
    expected[700 - MARGIN : 700 + MARGIN + 1] = False
    assert (calm.quiet == expected).all()
    assert not replace(whole, sharpness_steps=np.zeros(0, dtype=np.int64), sharpness=np.zeros(0)).quiet.any()


def test_false_alarms_are_counted_in_quiet_steps_alone() -> None:
    """Planted spikes pass for false alarms where the sharpness says that there can be none."""
    whole = logs()
    below = replace(whole, sharpness=np.full(len(whole.sharpness_steps), 1.0))
    above = replace(whole, sharpness=np.full(len(whole.sharpness_steps), 101.0))
    counts = [of_detectors([run])[0][FACTORS.index(1.0)]["false_alarms"] for run in (below, above)]
    assert counts == [len(SPIKES), 0]
    none = np.zeros(0, dtype=np.int64)
    assert np.isnan(of_detectors([logs(none, none)])[0][0]["found"])
