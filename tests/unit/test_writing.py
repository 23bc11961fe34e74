import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulators.config import EmulatorConfig
from emulators.substrate import EmulatedSubstrate
from substrate.errors import CapabilityError, InputError
from substrate.network import Network
from substrate.writing import Writer, WritingPlan

UNIT = 2.5e-5
LOW, HIGH = 1e-6, 1e-4
STEP = 0.002
PER_PULSE = STEP * 0.5 * (HIGH - LOW) / UNIT
"""Weight of one pulse of either device: ``step`` is in units of half the window."""
LARGEST = (HIGH - LOW) / UNIT

CONSTANT = {"law": "constant", "step": STEP}
NOISY = {"law": "soft_bounds", "step": STEP, "cycle_spread": 0.5}
ONE_SIDED = {"law": "one_sided", "step": STEP}


def device(update=CONSTANT, sizes=(5, 4), seed=0, **cells):
    config = EmulatorConfig.model_validate({"backend": "emulator", "update": update, "cells": cells})
    substrate = EmulatedSubstrate(Network(sizes), config, np.random.default_rng(seed))
    return substrate, substrate.network.forward[0]


def writer(substrate, mode, seed=1, **plan):
    return Writer(substrate, WritingPlan(mode, **plan), np.random.default_rng(seed))


def watch(substrate):
    """The pulse requests that reach the device."""
    seen, whole = [], substrate._write_cells

    def hook(request):
        seen.append(np.array(request.pulses))
        return whole(request)

    substrate._write_cells = hook
    return seen


def test_outright_weights_read_back_around_the_middle_of_the_window():
    substrate, coupling = device({"law": "ideal"})
    weights = np.random.default_rng(0).uniform(-LARGEST, LARGEST, coupling.shape)
    with substrate:
        outright = writer(substrate, "outright")
        written = outright.program(coupling, weights)
        assert (written.pulses, written.failed, written.saturated) == (0, 0, 0)
        assert np.allclose(outright.weights(coupling), weights, atol=1e-12)
        assert np.allclose(substrate.read_cells(coupling.name).mean(axis=0), 0.5 * (LOW + HIGH), rtol=1e-12)
        change = np.random.default_rng(1).uniform(-0.1, 0.1, coupling.shape) - 0.1 * np.sign(weights)
        outright.change(coupling, change)
        assert np.allclose(outright.weights(coupling), weights + change, atol=1e-12)


@pytest.mark.parametrize("update", [{"law": "ideal"}, CONSTANT])
def test_weights_beyond_the_window_are_held_at_its_end_and_counted(update):
    substrate, coupling = device(update)
    weights = np.zeros(coupling.shape)
    weights[0, 0], weights[1, 1] = 1.5 * LARGEST, -1.1 * LARGEST
    with substrate:
        one = writer(substrate, "outright" if update["law"] == "ideal" else "verify")
        assert one.program(coupling, weights).saturated == 2
        held = one.weights(coupling)
    assert held[0, 0] == pytest.approx(LARGEST, abs=PER_PULSE)
    assert held[1, 1] == pytest.approx(-LARGEST, abs=PER_PULSE)
    assert np.count_nonzero(np.abs(held) > PER_PULSE) == 2


def test_blind_pulses_are_right_on_average():
    substrate, coupling = device(sizes=(79, 80))
    wanted = 0.3 * PER_PULSE
    with substrate:
        blind = writer(substrate, "blind")
        for sign in (1, -1):
            before = blind.weights(coupling)
            written = blind.change(coupling, np.full(coupling.shape, sign * wanted))
            moved = blind.weights(coupling) - before
            # 6400 draws of 0 or 1 pulse with p = 0.3: deviation of the mean 0.0057 pulses.
            assert moved.mean() == pytest.approx(sign * wanted, abs=5 * 0.0058 * PER_PULSE)
            assert written.pulses == np.count_nonzero(np.abs(moved) > 0.5 * PER_PULSE)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-3.0, 3.0), min_size=1, max_size=12), st.integers(0, 1000))
def test_the_accumulator_loses_nothing(changes, seed):
    """However a change is cut up, the weight is less than a pulse from where exact writing would have taken it."""
    substrate, coupling = device(sizes=(2, 3))
    shape = np.random.default_rng(seed).uniform(-1, 1, coupling.shape)
    with substrate:
        accumulate = writer(substrate, "accumulate")
        start = accumulate.weights(coupling)
        for factor in changes:
            accumulate.change(coupling, factor * shape * PER_PULSE)
        missing = start + sum(changes) * shape * PER_PULSE - accumulate.weights(coupling)
    assert np.abs(missing).max() < PER_PULSE * (1 + 1e-9)


def test_bursts_are_bounded_and_the_accumulator_makes_good_later():
    substrate, coupling = device()
    with substrate:
        accumulate = writer(substrate, "accumulate", largest_burst=5)
        seen = watch(substrate)
        accumulate.change(coupling, np.full(coupling.shape, 12 * PER_PULSE))
        for _ in range(3):
            accumulate.change(coupling, np.zeros(coupling.shape))
        assert [int(np.abs(counts).sum(axis=0).max()) for counts in seen] == [5, 5, 2]
        assert np.allclose(accumulate.weights(coupling), 12 * PER_PULSE)


@pytest.mark.parametrize("sign", [1, -1])
def test_pairs_share_pulses_so_that_their_mean_stays(sign):
    substrate, coupling = device()
    with substrate:
        accumulate = writer(substrate, "accumulate")
        seen = watch(substrate)
        middle = substrate.read_cells(coupling.name).mean(axis=0)
        one_pulse = 0.5 * STEP * (HIGH - LOW)
        for number in sign * np.array([1, 1, 3, 2, 5, 4]):
            accumulate.change(coupling, np.full(coupling.shape, number * PER_PULSE * 1.0000001))
            counts = seen[-1]
            assert (counts[0] - counts[1] == number).all()
            assert (np.abs(np.abs(counts[0]) - np.abs(counts[1])) <= 1).all()
            assert (counts[0] * counts[1] <= 0).all()
            mean = substrate.read_cells(coupling.name).mean(axis=0)
            assert np.abs(mean - middle).max() <= 0.5 * one_pulse * (1 + 1e-9)
        # The device that gets the odd pulse takes turns.
        assert (seen[0][0] != seen[1][0]).all()


def test_cells_that_only_go_up_get_up_pulses_on_the_right_side():
    substrate, coupling = device(ONE_SIDED)
    with substrate:
        accumulate = writer(substrate, "accumulate")
        seen = watch(substrate)
        before = accumulate.weights(coupling)
        wanted = np.where(np.arange(coupling.shape[1]) % 2, 3.0, -2.0) * np.ones(coupling.shape)
        accumulate.change(coupling, wanted * PER_PULSE * 1.0000001)
        assert (seen[0] >= 0).all()
        assert np.array_equal(seen[0][0] - seen[0][1], wanted)
        moved = accumulate.weights(coupling) - before
        assert (np.sign(moved) == np.sign(wanted)).all()


def test_verified_weights_hold_to_the_tolerance_whatever_a_pulse_does():
    substrate, coupling = device(NOISY, sizes=(20, 15))
    weights = np.random.default_rng(0).uniform(-1, 1, coupling.shape)
    with substrate:
        verify = writer(substrate, "verify", tolerance_steps=1.5)
        verify.program(coupling, weights)
        assert np.abs(verify.weights(coupling) - weights).max() <= 1.5 * PER_PULSE
        for _ in range(5):
            change = np.random.default_rng(2).uniform(-3, 3, coupling.shape) * PER_PULSE
            weights = weights + change
            verify.change(coupling, change)
        assert np.quantile(np.abs(verify.weights(coupling) - weights), 0.99) <= 1.5 * PER_PULSE


def test_verifying_keeps_to_its_budget_of_rounds_and_stops_when_right():
    substrate, coupling = device(NOISY)
    with substrate:
        verify = writer(substrate, "verify", rounds=2, largest_burst=3)
        verify.program(coupling, np.zeros(coupling.shape))
        seen = watch(substrate)
        verify.change(coupling, np.full(coupling.shape, 50 * PER_PULSE))
        assert len(seen) == 2
        verify.program(coupling, verify.weights(coupling))
        assert len(seen) == 2


def test_verifying_without_a_target_starts_from_what_the_cells_hold():
    substrate, coupling = device()
    with substrate:
        before = writer(substrate, "verify").weights(coupling)
        fresh = writer(substrate, "verify")
        fresh.change(coupling, np.full(coupling.shape, 4 * PER_PULSE))
        assert np.allclose(fresh.weights(coupling) - before, 4 * PER_PULSE, atol=0.75 * PER_PULSE)


def test_no_change_is_no_write():
    for mode in ("blind", "accumulate", "verify"):
        substrate, coupling = device()
        with substrate:
            one = writer(substrate, mode)
            one.program(coupling, np.zeros(coupling.shape))
            seen = watch(substrate)
            assert one.change(coupling, np.zeros(coupling.shape)).pulses == 0
            assert seen == []


def test_stuck_cells_are_counted_as_failed():
    substrate, coupling = device(sizes=(9, 10), stuck=0.2)
    with substrate:
        before = substrate.read_cells(coupling.name)
        written = writer(substrate, "accumulate").change(coupling, np.full(coupling.shape, 2 * PER_PULSE * 1.0000001))
        still = int(np.count_nonzero(substrate.read_cells(coupling.name) == before))
    assert 0 < still < before.size / 2
    assert written.failed == still
    assert written.pulses in (before.size, before.size - still)


@pytest.mark.parametrize("mode", ["blind", "accumulate", "verify"])
def test_a_restored_writer_writes_the_same_again(mode):
    substrate, coupling = device()
    changes = np.random.default_rng(4).uniform(-3, 3, (4, *coupling.shape)) * PER_PULSE
    with substrate:
        one = writer(substrate, mode)
        one.program(coupling, np.zeros(coupling.shape))
        one.change(coupling, changes[0])
        kept, cells = one.snapshot(), substrate.states.snapshot()
        runs = []
        for _ in range(2):
            for change in changes[1:]:
                one.change(coupling, change)
            runs.append(substrate.read_cells(coupling.name))
            one.restore(kept)
            substrate.states.restore(cells)
        other = writer(substrate, mode, seed=99)
        other.restore(kept)
        for change in changes[1:]:
            other.change(coupling, change)
        runs.append(substrate.read_cells(coupling.name))
    assert np.array_equal(runs[0], runs[1])
    assert np.array_equal(runs[0], runs[2])


@pytest.mark.parametrize("mode", ["outright", "blind", "accumulate", "verify"])
def test_changes_that_are_not_numbers_are_refused_and_nothing_is_written(mode):
    substrate, coupling = device({"law": "ideal"} if mode == "outright" else CONSTANT)
    with substrate:
        one = writer(substrate, mode)
        before = substrate.read_cells(coupling.name)
        for bad in (np.full(coupling.shape, np.nan), np.full(coupling.shape, np.inf), np.zeros((2, 2))):
            with pytest.raises(InputError, match="change"):
                one.change(coupling, bad)
            with pytest.raises(InputError, match="weights"):
                one.program(coupling, bad)
        assert np.array_equal(substrate.read_cells(coupling.name), before)


def test_a_mode_that_the_device_lacks_is_refused_at_once():
    with pytest.raises(CapabilityError, match="continuous_writing"):
        writer(device()[0], "outright")
    for mode in ("blind", "accumulate", "verify"):
        with pytest.raises(CapabilityError, match="pulses"):
            writer(device({"law": "ideal"})[0], mode)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), share=st.sampled_from([0.05, 0.3, 0.9]))
def test_cells_beside_stuck_ones_make_up_for_them_when_set_outright(seed: int, share: float) -> None:
    substrate, coupling = device({"law": "ideal"}, seed=seed, stuck=share)
    rng = np.random.default_rng(seed)
    weights = rng.uniform(-0.4, 0.4, coupling.shape)
    with substrate:
        outright = writer(substrate, "outright")
        written = outright.program(coupling, weights)
        start = substrate.read_cells(coupling.name)
        reached = np.isclose(outright.weights(coupling), weights, atol=1e-12)
        stuck = substrate._arrays[coupling.name].devices.stuck
        # A cell at an end of the window leaves the other the whole way from none to one sign.
        assert np.all(reached | stuck.any(axis=0))
        assert written.failed == np.count_nonzero(stuck)
        for _ in range(3):
            outright.change(coupling, np.zeros(coupling.shape))
        np.testing.assert_allclose(substrate.read_cells(coupling.name), start, rtol=0, atol=1e-15)
        change = rng.uniform(-0.1, 0.1, coupling.shape)
        one = stuck.sum(axis=0) == 1
        wanted = outright.weights(coupling) + change
        outright.change(coupling, change)
        first, second = start[0] == LOW, start[1] == LOW
        low = np.where(stuck[0], np.where(first, LOW - HIGH, 0.0), np.where(second, 0.0, LOW - HIGH)) / UNIT
        high = np.where(stuck[0], np.where(first, 0.0, HIGH - LOW), np.where(second, HIGH - LOW, 0.0)) / UNIT
        within = one & (wanted > low) & (wanted < high)
        np.testing.assert_allclose(outright.weights(coupling)[within], wanted[within], atol=1e-12)
        again = writer(substrate, "outright")
        again.restore(outright.snapshot())
        before = substrate.read_cells(coupling.name)
        again.change(coupling, np.zeros(coupling.shape))
        np.testing.assert_allclose(substrate.read_cells(coupling.name), before, rtol=0, atol=1e-15)
