"""Checks of what a network answers: shapes, the free phase, the nudge and its linear response, products."""

import numpy as np

from substrate.arrays import FloatArray
from substrate.capabilities import Nudge
from substrate.contract import Record, Substrate
from substrate.demodulation import harmonics
from substrate.testing.checks import Bench, NotApplicable, close, expect
from substrate.testing.preparing import inputs, no_nudge, nudge_amperes, output_nudges, sampling_plan, writer_of
from substrate.tones import SamplingPlan

CHEBYSHEV = (1, -3, 5)
"""Weights of the odd cosine harmonics in the derivative at zero nudge (physics.md, section 2.3)."""

MOST_NODES = 64
"""Nodes whose response is measured one by one; of a larger network, as many drawn at random."""


def derivative(record: Record, plan: SamplingPlan) -> FloatArray:
    """A_1 - 3 A_3 + 5 A_5 of every node, (batch, node) volts, with phases counted from the nudge's crest."""
    cosines = cosine_harmonics(record, plan)
    return np.asarray(sum(weight * cosines[..., abs(weight)] for weight in CHEBYSHEV))


def cosine_harmonics(record: Record, plan: SamplingPlan) -> FloatArray:
    """Cosine harmonics of every node, (batch, node, harmonic) volts; the record's origin is taken out."""
    traces = np.asarray(record.volts).transpose(0, 2, 1)
    a, b = harmonics(traces, plan.samples_per_period, plan.highest_harmonic)
    shift = 2 * np.pi * plan.frequency_hz * record.origin_seconds * np.arange(a.shape[-1])
    return np.asarray(a * np.cos(shift) - b * np.sin(shift))


def shapes_are_kept(bench: Bench[Substrate]) -> None:
    """Records and readings have the stated shapes for a batch of one and of more, and are real floating point."""
    with bench.opened() as device:
        nodes, plan = device.network.node_count, sampling_plan(device, bench.tolerance)
        for batch in (1, 3):
            device.hold(inputs(device, bench.rng, batch))
            _expect_record(device.settle(), (batch, 1, nodes), f"settle() of a batch of {batch}")
            nudge = Nudge(output_nudges(device, bench.rng, batch, bench.tolerance))
            record = device.nudge(nudge, plan)
            _expect_record(record, (batch, plan.sample_count, nodes), f"nudge() of a batch of {batch}")
            for coupling in device.network.arrays if device.capabilities.forward_products else ():
                currents = device.products(coupling.name, np.zeros((batch, coupling.shape[0])))
                _expect_floats(currents, (batch, coupling.shape[1]), f"products({coupling.name!r})")
        for coupling in device.network.arrays:
            _expect_floats(device.read_cells(coupling.name), coupling.cell_shape, f"read_cells({coupling.name!r})")


def _expect_record(record: Record, shape: tuple[int, ...], what: str) -> None:
    _expect_floats(record.volts, shape, f"{what}: volts")
    for name, kind in (("saturated", np.bool_), ("settled", np.bool_), ("residual", np.float64)):
        found = getattr(record, name)
        fits = isinstance(found, np.ndarray) and found.shape == shape[:1] and found.dtype == kind
        expect(fits, f"{what}: {name}: expected {kind.__name__} of shape {shape[:1]}, got {np.shape(found)}")
    if record.kinked is not None:
        fits = record.kinked.shape == shape[:1] and record.kinked.dtype == np.bool_
        expect(fits, f"{what}: kinked: expected bool of shape {shape[:1]}, got {np.shape(record.kinked)}")


def _expect_floats(found: FloatArray, shape: tuple[int, ...], what: str) -> None:
    fits = isinstance(found, np.ndarray) and found.shape == shape
    expect(fits, f"{what}: expected shape {shape}, got {np.shape(found)}")
    expect(found.dtype == np.float64, f"{what}: expected float64, got {found.dtype}")
    expect(np.isfinite(found).all(), f"{what}: has numbers that are not finite")


def records_are_coherent(bench: Bench[Substrate]) -> None:
    """A record has its plan's samples and rate, begins where it says, repeats, and is no finer than the step told."""
    with bench.opened() as device:
        plan = sampling_plan(device, bench.tolerance)
        plan = SamplingPlan(plan.frequency_hz, plan.harmonics, plan.samples_per_period, max(plan.periods, 2))
        device.hold(inputs(device, bench.rng, 3))
        free = device.settle()
        expect(free.rate_hz == 0, f"settle(): a single reading has rate 0, got {free.rate_hz}")
        record = device.nudge(Nudge(output_nudges(device, bench.rng, 3, bench.tolerance)), plan)
        samples = record.volts.shape[1]
        expect(samples == plan.sample_count, f"nudge(): expected {plan.sample_count} samples, got {samples}")
        close(record.rate_hz, plan.rate_hz, 1e-9 * plan.rate_hz, "nudge(): rate_hz")
        expect(np.isfinite(record.origin_seconds), f"nudge(): origin_seconds is {record.origin_seconds}")
        step = device.capabilities.reading_step_volts
        expect(np.isfinite(step) and step >= 0, f"capabilities.reading_step_volts: expected 0 or a step, got {step}")
        apart = np.diff(np.sort(record.volts, axis=1), axis=1)
        finer = apart[(apart > 1e-6 * step) & (apart < (1.0 - 1e-6) * step)]
        expect(
            not finer.size,
            f"nudge(): readings {finer.min(initial=step):.4g} V apart, the step of readings "
            f"(capabilities.reading_step_volts) is {step:.4g} V",
        )
        periods = record.volts.reshape(3, plan.periods, plan.samples_per_period, -1)
        close(periods[:, 1:], periods[:, :-1], 2 * bench.tolerance.reading_volts(), "nudge(): one period to the next")
        a, b = harmonics(record.volts.transpose(0, 2, 1), plan.samples_per_period, 1)
        shift = 2 * np.pi * plan.frequency_hz * record.origin_seconds
        quadrature = a[..., 1] * np.sin(shift) + b[..., 1] * np.cos(shift)
        in_phase = np.linalg.norm(cosine_harmonics(record, plan)[..., 1])
        noise = bench.tolerance.harmonic_volts(plan.sample_count) * np.sqrt(quadrature.size)
        off, allowed = np.linalg.norm(quadrature), 0.03 * in_phase + noise
        expect(off <= allowed, f"nudge(): {off:.4g} V out of phase, allowed {allowed:.4g} V (is the origin right?)")


def free_phase_repeats(bench: Bench[Substrate]) -> None:
    """The free state depends on the inputs now held alone: not on what was held before, nor on its companions."""
    with bench.opened() as device:
        held = inputs(device, bench.rng, 4)
        allowed = 2.0 * bench.tolerance.reading_volts()
        device.hold(held)
        first = device.settle().volts
        close(device.settle().volts, first, allowed, "settle() again")
        device.hold(inputs(device, bench.rng, 2))
        device.settle()
        device.hold(held[::-1])
        close(device.settle().volts, first[::-1], allowed, "settle() of the same inputs in another order")
        device.hold(held[1:3])
        close(device.settle().volts, first[1:3], allowed, "settle() of some of the inputs alone")


def settled_means_settled(bench: Bench[Substrate]) -> None:
    """Test inputs settle, and the residual of whatever is called settled is within the tolerance."""
    with bench.opened() as device:
        device.hold(inputs(device, bench.rng, 4))
        free = device.settle()
        expect(free.settled.any(), "none of the test inputs settles; prepare() should give weights at which they do")
        nudge = Nudge(output_nudges(device, bench.rng, 4, bench.tolerance))
        for what, record in (
            ("settle()", free),
            ("nudge()", device.nudge(nudge, sampling_plan(device, bench.tolerance))),
        ):
            known = record.residual[record.settled & ~np.isnan(record.residual)]
            worst = float(np.max(known, initial=0.0))
            allowed = bench.tolerance.residual
            expect(worst <= allowed, f"{what}: called settled at a residual of {worst:.4g}, allowed {allowed:.4g}")


def oscillation_is_reported(bench: Bench[Substrate]) -> None:
    """A network that has no stable state is not reported as settled."""
    with bench.opened() as device:
        network, writer = device.network, writer_of(device, bench.rng)
        if (
            network.feedforward
            or network.convolutional
            or network.feedback != "separate"
            or len(network.sizes) < 3
            or min(network.sizes[-2:]) < 2
        ):
            raise NotApplicable("takes two hidden and two output nodes with feedback arrays of their own")
        if network.activation != "tanh":
            raise NotApplicable("takes neurons whose slope is largest at zero")
        if writer is None:
            raise NotApplicable("takes cells that can be programmed")
        # Loop gain 2.5^2 turned by a right angle: at the only equilibrium, the origin, eigenvalues are
        # -1 + 2.5 exp(i pi/4), that is a growing spiral.
        turn = {network.forward[-1].name: np.eye(2), network.backward[-1].name: np.array([[0.0, 1.0], [-1.0, 0.0]])}
        for coupling in network.arrays:
            weights = np.zeros(coupling.shape)
            if coupling.name in turn:
                weights[:2, :2] = 2.5 * turn[coupling.name]
            elif coupling.source.start < 0:
                weights[0] = 0.1
            writer.program(coupling, weights)
            if not np.allclose(writer.weights(coupling), weights, atol=0.05):
                raise NotApplicable(f"{coupling.name} cannot be brought to the weights that this takes")
        device.hold(np.full((2, network.input_size), 0.2 * device.scale.volts_per_unit))
        expect(not device.settle().settled.any(), "a network that can only oscillate is reported as settled")


def zero_nudge_is_the_free_state(bench: Bench[Substrate]) -> None:
    """Every sample of a record with a nudge of amplitude zero is the free state."""
    with bench.opened() as device:
        device.hold(inputs(device, bench.rng, 3))
        free = device.settle().volts
        record = device.nudge(no_nudge(device, 3), sampling_plan(device, bench.tolerance))
        close(
            record.volts,
            np.repeat(free, record.volts.shape[1], axis=1),
            2 * bench.tolerance.reading_volts(),
            "nudge(0)",
        )


def nudge_is_linear_when_small(bench: Bench[Substrate]) -> None:
    """The outputs follow the nudge; its sign is a shift by half a period; halving it halves A1 to second order."""
    with bench.opened() as device:
        tolerance, plan = bench.tolerance, sampling_plan(device, bench.tolerance)
        device.hold(inputs(device, bench.rng, 3))
        device.settle()
        amperes = output_nudges(device, bench.rng, 3, tolerance)
        whole, minus, half = (device.nudge(Nudge(part * amperes), plan) for part in (1.0, -1.0, 0.5))
        shifted = np.roll(minus.volts, plan.samples_per_period // 2, axis=1)
        close(whole.volts, shifted, 2 * tolerance.reading_volts(), "nudge of the opposite sign, half a period later")
        a, a_half = cosine_harmonics(whole, plan), cosine_harmonics(half, plan)
        work = float(np.sum(a[..., 1] * amperes))
        expect(work > 0, "a nudge moves the nodes it drives against its own sign, or not at all")
        # s = c_1 b + c_3 b^3 has A_1/b = c_1 + 3/4 c_3 b^2 and A_3/b = c_3 b^2/4: halving b moves A_1/b by
        # 9/4 of A_3/b.
        change = np.linalg.norm(a[..., 1] - 2.0 * a_half[..., 1])
        curved = np.linalg.norm(a[..., 3])
        noise = 4.0 * tolerance.harmonic_volts(plan.sample_count) * np.sqrt(a[..., 1].size)
        allowed = 3.0 * curved + tolerance.response_relative * np.linalg.norm(a[..., 1]) + noise
        expect(change <= allowed, f"halving the nudge changes A1 per ampere by {change:.4g} V, allowed {allowed:.4g} V")


def response_follows_the_cells(bench: Bench[Substrate]) -> None:
    """Each node answers in proportion to the currents that the cells, as read, carry to it in the right direction."""
    with bench.opened() as device:
        network, scale = device.network, device.scale
        if network.output.start == 0:
            raise NotApplicable("takes a hidden layer")
        plan = sampling_plan(device, bench.tolerance)
        batch = 3 * network.output.size
        device.hold(np.repeat(inputs(device, bench.rng, 1), batch, axis=0))
        device.settle()
        amperes = output_nudges(device, bench.rng, batch, bench.tolerance)
        amperes *= bench.rng.uniform(0.0, 1.0, amperes.shape)
        # The first harmonic alone: a few per cent of curvature matter less here than noise times five.
        change = cosine_harmonics(device.nudge(Nudge(amperes), plan), plan)[..., 1] / scale.volts_per_unit
        # At fixed inputs du = W ds + dI and ds = f'(u) du: every node's ds goes with its own du over all nudges.
        drive = amperes / scale.unit_amperes
        for coupling in (*network.forward, *(() if network.feedforward else network.backward)):
            if coupling.source.start >= 0:
                drive[:, coupling.target.nodes] += change[:, coupling.source.nodes] @ _weights(device, coupling.name)
        dot, size = np.sum(drive * change, axis=0), np.linalg.norm(change, axis=0)
        driven = np.linalg.norm(drive, axis=0)
        noise = np.sqrt(batch) * bench.tolerance.harmonic_volts(plan.sample_count) / scale.volts_per_unit
        # Nodes that hardly get any current, or hardly answer, show noise: left out, or of little weight.
        clear = driven > 10.0 * noise
        for layer in network.layers[1:]:
            part = np.flatnonzero(clear[layer.nodes]) + layer.start
            if len(part):
                cosine = float(np.sum(dot[part] / driven[part]) / max(size[part].sum(), np.finfo(float).tiny))
                expect(
                    cosine > 0.8,
                    f"{layer.name}: its response and the currents from its cells have a cosine of {cosine:.3g}",
                )


def _weights(device: Substrate, name: str) -> FloatArray:
    """Weights (source, target) of a coupling without its bias line, at all places, from cells that are read now."""
    network = device.network
    coupling = next(one for one in (*network.forward, *network.backward) if one.name == name)
    mirror = network.mirror(coupling)
    turned = network.feedback == "shared" and coupling.backward and mirror is not None
    own = mirror if turned and mirror is not None else coupling
    cells = device.read_cells(own.name)
    weights = own.block(own.signed(cells)[: own.source_lines] / device.scale.unit_siemens)
    return np.asarray(weights.T if turned else weights)


def adjoint_is_exact(bench: Bench[Substrate]) -> None:
    """The oracle's adjoint agrees with the measured responses to currents injected node by node."""
    with bench.opened() as device:
        oracle, network = device.oracle, device.network
        if oracle is None:
            raise NotApplicable("the device has no oracle")
        tolerance, plan = bench.tolerance, sampling_plan(device, bench.tolerance)
        first = 0 if device.capabilities.node_nudges else network.output.start
        nodes = np.arange(first, network.node_count)
        nodes = bench.rng.permutation(nodes)[:MOST_NODES]
        device.hold(np.repeat(inputs(device, bench.rng, 1), len(nodes), axis=0))
        device.settle()
        peak = nudge_amperes(device, tolerance)
        amperes = np.zeros((len(nodes), network.node_count))
        amperes[np.arange(len(nodes)), nodes] = peak
        record = device.nudge(Nudge(amperes), plan)
        response = derivative(record, plan) / peak
        # Across a kink there is no linear response at the nudge's size, however small.
        smooth = np.ones(len(nodes), dtype=np.bool_) if record.kinked is None else ~record.kinked
        if not smooth.any():
            raise NotApplicable("a kink lies within the test nudge of every node")
        values = bench.rng.standard_normal(network.node_count)
        exact = oracle.adjoint(np.tile(values, (len(nodes), 1)))
        expect(exact.shape == amperes.shape, f"adjoint: expected shape {amperes.shape}, got {exact.shape}")
        close(exact[1:], exact[:-1], 1e-9 * float(np.abs(exact).max()), "adjoint of equal rows")
        noise = tolerance.harmonic_volts(plan.sample_count, CHEBYSHEV) / peak * float(np.linalg.norm(values))
        allowed = tolerance.response_relative * float(np.abs(exact[0]).max()) + noise
        close((response @ values)[smooth], exact[0, nodes[smooth]], allowed, "adjoint against measured responses, ohms")


def products_follow_the_cells(bench: Bench[Substrate]) -> None:
    """Products are linear in the voltages, and within the wires' part of what the cells, as read, would carry."""
    with bench.opened() as device:
        if not device.capabilities.forward_products:
            raise NotApplicable("forward_products is not declared")
        full = min(device.scale.volts_per_unit, device.capabilities.limits.read_volts)
        for coupling in device.network.arrays:
            a, b = bench.rng.uniform(-full, full, (2, 3, coupling.shape[0]))
            cells = device.read_cells(coupling.name)
            ideal = a @ coupling.signed(cells)
            # Both devices of a pair carry current: that is what noise and wires are relative to.
            largest = float(np.max(np.abs(a) @ cells.sum(axis=0)))
            name, relative = coupling.name, bench.tolerance.products_relative
            of_a, of_b = device.products(name, a), device.products(name, b)
            mixed = device.products(name, 0.25 * a - 0.5 * b)
            close(mixed, 0.25 * of_a - 0.5 * of_b, 2 * relative * largest, f"products({name!r}) of a sum")
            allowed = (relative + bench.tolerance.wires_relative) * largest
            close(of_a, ideal, allowed, f"products({name!r}) against its cells")
            if device.capabilities.transposed_products:
                back = bench.rng.uniform(-full, full, (3, coupling.shape[1]))
                largest = float(np.max(np.abs(back) @ cells.sum(axis=0).T))
                allowed = (relative + bench.tolerance.wires_relative) * largest
                found = device.products(name, back, "backward")
                close(found, back @ coupling.signed(cells).T, allowed, f"products({name!r}) backward")


RESPONSES = (
    shapes_are_kept,
    records_are_coherent,
    free_phase_repeats,
    settled_means_settled,
    oscillation_is_reported,
    zero_nudge_is_the_free_state,
    nudge_is_linear_when_small,
    response_follows_the_cells,
    adjoint_is_exact,
    products_follow_the_cells,
)
