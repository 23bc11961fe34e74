import numpy as np
import pytest

from emulators.config import EmulatorConfig
from emulators.substrate import EmulatedSubstrate
from substrate.capabilities import WriteRequest
from substrate.network import Network
from substrate.rules.homeostasis import Homeostasis, symmetry
from substrate.writing import Writer, WritingPlan

SIZES = (3, 5, 4, 2)
INPUTS = np.zeros((1, 3))


def device(sizes=SIZES, seed=0, feedback="separate", **section):
    config = EmulatorConfig.model_validate({"backend": "emulator"} | section)
    network = Network(sizes, feedback=feedback)
    rng = np.random.default_rng(seed)
    substrate = EmulatedSubstrate(network, config, rng)
    writer = Writer(substrate, WritingPlan("outright"), rng)
    with substrate:
        for coupling in network.arrays:
            writer.program(coupling, rng.uniform(-1, 1, coupling.shape))
    return substrate, writer


def blocks(substrate, writer):
    """(name forward, name backward, F without its bias line, B) of every pair."""
    for backward in substrate.network.backward:
        forward = substrate.network.mirror(backward)
        weights = writer.weights(forward)
        yield forward.name, backward.name, weights[: forward.source.size], writer.weights(backward)


def test_full_probe_sets_give_the_exact_gradient():
    """dL/dF = 2 (F - B^T) and dL/dB its negative transpose (arXiv 2309.02214), over the number of neurons."""
    substrate, writer = device()
    with substrate:
        found = Homeostasis(0.7, 0, np.random.default_rng(1)).directions(substrate, INPUTS)
        for forward, backward, f, b in blocks(substrate, writer):
            exact = -0.7 / substrate.network.node_count * 2.0 * (f - b.T)
            assert np.allclose(found[forward][: len(f)], exact, atol=1e-12)
            assert np.allclose(found[backward], -exact.T, atol=1e-12)
            assert not found[forward][len(f) :].any()
        assert set(found) == {"hidden1-hidden2", "hidden2-output", "hidden2-hidden1", "output-hidden2"}


def test_it_descends_the_penalty():
    """L = 2 |A|_F^2 with A the skew part of the whole Jacobian: the directions are its negative gradient."""
    substrate, writer = device()
    network, step = substrate.network, 1e-6
    with substrate:
        weights = {coupling.name: writer.weights(coupling) for coupling in network.arrays}
        found = Homeostasis(1.0, 0, np.random.default_rng(1)).directions(substrate, INPUTS)

    def penalty(weights):
        jacobian = np.zeros((network.node_count, network.node_count))
        for coupling in network.arrays:
            if coupling.source.start >= 0:
                part = weights[coupling.name][: coupling.source.size]
                jacobian[coupling.target.nodes, coupling.source.nodes] = part.T
        skew = 0.5 * (jacobian - jacobian.T)
        return 2.0 * np.sum(skew**2) / network.node_count

    rng = np.random.default_rng(2)
    for name, direction in found.items():
        way = rng.standard_normal(direction.shape)
        up, down = (penalty(weights | {name: weights[name] + sign * step * way}) for sign in (1, -1))
        assert (up - down) / (2 * step) == pytest.approx(-np.sum(direction * way), rel=1e-6)


@pytest.mark.parametrize("probes", [1, 2, 3])
def test_few_probes_are_unbiased(probes):
    substrate, writer = device((2, 4, 3))
    with substrate:
        homeostasis = Homeostasis(1.0, probes, np.random.default_rng(3))
        draws = np.array([homeostasis.directions(substrate, INPUTS)["hidden1-output"][:4] for _ in range(1500)])
        ((_, _, f, b),) = blocks(substrate, writer)
    exact = -2.0 / substrate.network.node_count * (f - b.T)
    error = draws.mean(axis=0) - exact
    deviation = draws.std(axis=0) / np.sqrt(len(draws))
    assert deviation.max() > 0
    assert (np.abs(error) < 5 * deviation).all()


def test_more_probes_are_less_noisy_and_two_full_sets_exact():
    substrate, writer = device((2, 4, 4))
    with substrate:
        ((name, _, f, b),) = blocks(substrate, writer)
        exact = -2.0 / 8 * (f - b.T)

        def error(probes):
            homeostasis = Homeostasis(1.0, probes, np.random.default_rng(3))
            return np.mean(
                [np.sum((homeostasis.directions(substrate, INPUTS)[name][:4] - exact) ** 2) for _ in range(100)]
            )

        assert error(1) > error(2) > error(3) > 1e-3
        assert error(4) < 1e-24
        assert error(8) < 1e-24


@pytest.mark.parametrize(("rate", "strength"), [(0.1, 1.0), (0.5, 0.4), (1.0, 1.0)])
def test_the_asymmetry_of_a_linear_map_shrinks_by_the_stated_factor(rate, strength):
    """W - W^T shrinks by 1 - 4 rate strength/n a step, and W + W^T stays (physics.md, section 3)."""
    substrate, writer = device((2, 4, 3))
    with substrate:
        homeostasis = Homeostasis(strength, 0, np.random.default_rng(1))
        ((forward, backward, f, b),) = blocks(substrate, writer)
        for _ in range(3):
            found = homeostasis.directions(substrate, INPUTS)
            for name in (forward, backward):
                writer.change(substrate.network.array(name), rate * found[name])
            ((_, _, f_new, b_new),) = blocks(substrate, writer)
            assert np.allclose(f_new - b_new.T, (1 - 4 * rate * strength / 7) * (f - b.T), atol=1e-10)
            assert np.allclose(f_new + b_new.T, f + b.T, atol=1e-10)
            f, b = f_new, b_new


def test_it_needs_forward_products_alone():
    substrate, _ = device()

    def forbidden(*arguments):
        raise AssertionError("only products may be measured")

    with substrate:
        for hook in ("_hold", "_settle", "_nudge", "_read_cells", "_write_cells"):
            setattr(substrate, hook, forbidden)
        assert Homeostasis(1.0, 0, np.random.default_rng(1)).directions(substrate, INPUTS)


def test_shared_arrays_and_single_layers_have_nothing_to_pull():
    for substrate, _ in (device(feedback="shared"), device((3, 2))):
        with substrate:
            assert Homeostasis(1.0, 0, np.random.default_rng(1)).directions(substrate, INPUTS) == {}


def test_symmetric_weights_are_left_alone():
    substrate, writer = device((2, 4, 3))
    with substrate:
        ((_, backward, f, _),) = blocks(substrate, writer)
        writer.program(substrate.network.array(backward), f.T)
        found = Homeostasis(1.0, 0, np.random.default_rng(1)).directions(substrate, INPUTS)
        assert all(np.abs(direction).max() < 1e-12 for direction in found.values())


def test_probes_stay_inside_the_converters_as_well_as_the_limits():
    """Lines that survive 0.3 V behind converters that end at 0.25 V: the gradient is right to a converter step."""
    chip = {"converters": {"dac_bits": 12, "dac_range_volts": 0.25}, "limits": {"read_volts": 0.3}}
    substrate, writer = device((2, 6, 5), **chip)
    with substrate:
        found = Homeostasis(1.0, 0, np.random.default_rng(1)).directions(substrate, INPUTS)
        ((name, _, f, b),) = blocks(substrate, writer)
    exact = -2.0 / 11 * (f - b.T)
    assert np.linalg.norm(found[name][:6] - exact) < 2e-3 * np.linalg.norm(exact)


def test_probes_stay_inside_narrow_limits():
    substrate, writer = device((2, 4, 3), limits={"read_volts": 0.05})
    seen = []
    with substrate:
        whole = substrate._products
        substrate._products = lambda coupling, volts, way: (
            seen.append(np.abs(volts).max()) or whole(coupling, volts, way)
        )
        found = Homeostasis(1.0, 0, np.random.default_rng(1)).directions(substrate, INPUTS)
        ((name, _, f, b),) = blocks(substrate, writer)
    assert max(seen) <= 0.05 * (1 + 1e-12)
    assert np.allclose(found[name][:4], -2.0 / 7 * (f - b.T), atol=1e-12)


def test_it_is_active_only_with_a_strength():
    assert not Homeostasis(0.0, 0, np.random.default_rng(0)).active
    assert Homeostasis(0.1, 0, np.random.default_rng(0)).active


def test_symmetry_score_has_its_three_known_values():
    rng = np.random.default_rng(0)
    f = rng.standard_normal((400, 300))
    assert symmetry(f, f.T) == pytest.approx(1.0)
    assert symmetry(f, -f.T) == pytest.approx(-1.0)
    assert abs(symmetry(f, rng.standard_normal((300, 400)))) < 0.02
    assert symmetry(np.zeros((2, 3)), np.zeros((3, 2))) == 1.0


def test_symmetry_score_is_that_of_the_whole_block():
    rng = np.random.default_rng(1)
    f, b = rng.standard_normal((3, 2)), rng.standard_normal((2, 3))
    block = np.block([[np.zeros((3, 3)), f], [b, np.zeros((2, 2))]])
    even, odd = np.sum((block + block.T) ** 2), np.sum((block - block.T) ** 2)
    assert symmetry(f, b) == pytest.approx((even - odd) / (even + odd))


def test_products_of_a_write_are_those_of_the_new_cells():
    substrate, _ = device((2, 3, 2))
    with substrate:
        target = np.full((2, 2, 3), 5e-5)
        substrate.write_cells(WriteRequest("output-hidden1", target_siemens=target))
        assert not substrate.products("output-hidden1", np.full((1, 2), 0.1)).any()
