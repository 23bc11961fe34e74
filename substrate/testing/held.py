"""Checks of what a network answers to held nudges, with and without feedback, and of its steps."""

from dataclasses import replace

import numpy as np

from substrate.arrays import FloatArray
from substrate.capabilities import HeldNudge, Nudge
from substrate.contract import Substrate
from substrate.testing.checks import Bench, NotApplicable, close, expect
from substrate.testing.preparing import inputs, output_nudges, sampling_plan

SLOWER = 1e-3
"""Frequency of the record that held states are compared with, in units of the test frequency."""

STEPS = 400
"""Of half a time constant, after which a test network of loop gain 0.6 has come to rest."""


def held_nudges_are_the_slow_limit(bench: Bench[Substrate]) -> None:
    """Held currents of either sign are as far apart as the crest and the trough of a slow sinusoidal nudge."""
    with bench.opened() as device:
        tolerance, plan = bench.tolerance, sampling_plan(device, bench.tolerance)
        plan = replace(plan, frequency_hz=SLOWER * plan.frequency_hz)
        device.hold(inputs(device, bench.rng, 3))
        device.settle()
        amperes = np.abs(output_nudges(device, bench.rng, 3, tolerance))
        held = device.settle_nudged(HeldNudge(np.stack([amperes, -amperes], axis=1)))
        shape = (3, 2, device.network.node_count)
        fits = held.volts.shape == shape and held.volts.dtype == np.float64
        expect(fits, f"settle_nudged(): expected float64 of shape {shape}, got {held.volts.dtype} {held.volts.shape}")
        for name in ("saturated", "settled", "residual"):
            found = np.shape(getattr(held, name))
            expect(found == shape[:2], f"settle_nudged(): {name}: expected shape {shape[:2]}, got {found}")
        expect(bool(held.settled.all()), "settle_nudged(): small nudges do not settle")
        record = device.nudge(Nudge(amperes), plan)
        crest = _at_phase(record.volts, plan.samples_per_period, plan.frequency_hz * record.origin_seconds)
        swing, apart = crest[:, 0] - crest[:, 1], held.volts[:, 0] - held.volts[:, 1]
        largest = float(np.max(np.abs(swing)))
        expect(largest > 0.0, "nudge(): no node moves")
        allowed = 4.0 * tolerance.reading_volts() + (tolerance.response_relative + 1e-5) * largest
        close(apart, swing, allowed, "settle_nudged() of either sign against the swing of a slow nudge")


def _at_phase(volts: FloatArray, samples: int, turns: float) -> FloatArray:
    """(batch, 2, node) at crest and trough of a record that begins so many turns after a crest."""
    spectrum = np.fft.rfft(volts.reshape(len(volts), -1, samples, volts.shape[2]).mean(axis=1), axis=1) / samples
    order = np.arange(spectrum.shape[1])
    weight = np.where((order == 0) | (2 * order == samples), 1.0, 2.0)
    phases = np.array([0.0, 0.5]) - turns
    turned = np.exp(2j * np.pi * phases[:, None] * order) * weight
    return np.asarray(np.einsum("pk,bkn->bpn", turned, spectrum).real)


def held_points_are_separate(bench: Bench[Substrate]) -> None:
    """Each point of a held nudge starts from the free state, whatever comes before it; without current it stays."""
    with bench.opened() as device:
        device.hold(inputs(device, bench.rng, 2))
        free = device.settle().volts
        amperes = np.stack([output_nudges(device, bench.rng, 2, bench.tolerance) for _ in range(3)], axis=1)
        amperes[:, 1] = 0.0
        allowed = 2.0 * bench.tolerance.reading_volts()
        together = device.settle_nudged(HeldNudge(amperes)).volts
        close(together[:, 1:2], free, allowed, "settle_nudged() without current against the free state")
        turned = device.settle_nudged(HeldNudge(amperes[:, ::-1])).volts
        close(turned[:, ::-1], together, allowed, "settle_nudged() of the same points in another order")
        alone = device.settle_nudged(HeldNudge(amperes[:, 2:])).volts
        close(alone, together[:, 2:], allowed, "settle_nudged() of one of the points alone")


def feedback_is_the_current_that_flows(bench: Bench[Substrate]) -> None:
    """Under a conductance to a source the network is where the current that flows through it would hold it."""
    with bench.opened() as device:
        if not device.capabilities.feedback_nudges:
            raise NotApplicable("feedback_nudges is not declared")
        scale, tolerance = device.scale, bench.tolerance
        device.hold(inputs(device, bench.rng, 3))
        free = device.settle().volts
        siemens = np.zeros_like(free)
        siemens[..., device.network.output.nodes] = 0.3 * scale.unit_siemens
        source = free + output_nudges(device, bench.rng, 3, tolerance)[:, None] / (0.3 * scale.unit_siemens)
        source[..., : device.network.output.start] = 0.0
        held = device.settle_nudged(HeldNudge(siemens * source, siemens))
        expect(bool(held.settled.all()), "settle_nudged(): a small conductance does not settle")
        moved = float(np.max(np.abs(held.volts - free)))
        opened = device.settle_nudged(HeldNudge(siemens * (source - held.volts))).volts
        # What a reading is off by makes the current off, and the state by at most a few times as much.
        allowed = 4.0 * tolerance.reading_volts() + tolerance.response_relative * moved
        close(opened, held.volts, allowed, "the state under the current that flows through a conductance")


def steps_lead_to_the_free_state(bench: Bench[Substrate]) -> None:
    """Steps from rest are the same every time, and go to the free state, where they stay."""
    with bench.opened() as device:
        if device.stepper is None:
            raise NotApplicable("the device has no stepper")
        device.hold(inputs(device, bench.rng, 2))
        allowed = 2.0 * bench.tolerance.reading_volts()
        first = device.evolve(None, 3, every=1).volts
        expect(first.shape == (2, 3, device.network.node_count), f"evolve(every=1): got shape {first.shape}")
        device.rest()
        close(device.evolve(None, 3, every=1).volts, first, allowed, "evolve() after rest()")
        far = device.evolve(None, STEPS, 0.5).volts
        close(far, device.settle().volts, allowed, "evolve() to the end against settle()")
        close(device.evolve(None, 3).volts, far, allowed, "evolve() from the free state")


HELD = (
    held_nudges_are_the_slow_limit,
    held_points_are_separate,
    feedback_is_the_current_that_flows,
    steps_lead_to_the_free_state,
)
