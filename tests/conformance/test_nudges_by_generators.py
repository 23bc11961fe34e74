"""What generators really put out for a nudge: at one clock, and never more than was asked for."""

import numpy as np
import pytest
import yaml
from xor_bench import NUDGE_SIEMENS, bench_file, bench_section, driven, experiment

from drivers.errors import InstrumentError
from emulators.bench.bench import VirtualBench
from substrate.capabilities import Nudge
from substrate.errors import InputError
from substrate.experiment.assembly import assemble
from substrate.tones import SamplingPlan

PLAN = SamplingPlan(1000.0, 3, 8, 1)


def test_generators_on_clocks_of_their_own_are_not_phase_locked(tmp_path):
    file = bench_file()
    del file["instruments"]["nudges"]["options"]
    with VirtualBench(file) as bench:
        device = assemble(experiment(bench_section(bench.resources, tmp_path), tmp_path)).substrate

        def use():
            with device:
                pass

        with pytest.raises(InstrumentError, match=r"reference.phase_locked: clock, nudges run on clocks of their own"):
            use()
        assert driven(bench) == []


@pytest.mark.parametrize("volts", [5.0e-4, 11.0])
def test_a_reference_that_its_generator_does_not_have_is_refused_before_it_is_opened(tmp_path, volts):
    nowhere = dict.fromkeys(bench_file()["instruments"], "TCPIP::127.0.0.1::1::SOCKET")
    section = bench_section(nowhere, tmp_path)
    path = tmp_path / "wiring.yaml"
    text = yaml.safe_load(path.read_text())
    text["reference"]["volts"] = volts
    path.write_text(yaml.safe_dump(text))
    with pytest.raises(InputError, match=r"reference.volts: expected 0.001 to 10, which clock.1 has"):
        assemble(experiment(section, tmp_path))


def test_a_nudge_below_the_least_sine_is_not_put_out_and_the_log_says_so(tmp_path, caplog):
    with VirtualBench(bench_file()) as bench:
        device = assemble(experiment(bench_section(bench.resources, tmp_path), tmp_path)).substrate
        put_out = []

        def nudged(*volts):
            currents = np.zeros((1, 6))
            currents[0, 4:] = np.array(volts) * NUDGE_SIEMENS
            device.nudge(Nudge(currents), PLAN)

        with device:
            device.hold(np.array([[0.1, -0.1]]))
            device.settle()

            def seen():
                with bench.lock:
                    times = bench.clock.seconds + np.linspace(0.0, 2e-3, 401)
                    found = bench.fixture.volts(["nudges.1", "nudges.2"], times)
                put_out.append(np.abs(found).max(axis=0))

            device._wait = seen  # once all stands
            for volts in ((0.7e-3, 3e-3), (0.4e-3, 0.99e-3), (1.0e-3, -1.2e-3)):
                nudged(*volts)
        np.testing.assert_allclose(put_out, [[0.0, 3e-3], [0.0, 0.0], [1.0e-3, 1.2e-3]], rtol=1e-3, atol=1e-9)
        said = [one.getMessage() for one in caplog.records if one.name == "drivers.bench"]
        assert len(said) == 1
        assert said[0].startswith("output.0: a nudge of 0.0007 V is below the least sine of its generator, 0.001 V")
        assert driven(bench) == []
