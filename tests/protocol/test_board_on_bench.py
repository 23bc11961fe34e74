"""Reference boards of a bench file: the driver over the wire, beside instruments on the same chip."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from drivers.board import BoardSubstrate
from drivers.board_section import BoardConfig, section_of
from emulators.bench.bench import VirtualBench
from emulators.bench.plant import NetworkPlant
from substrate.capabilities import WriteRequest
from substrate.errors import InputError
from substrate.network import Network

Open = Callable[..., VirtualBench]

BENCH: dict[str, Any] = {
    "seed": 1,
    "network": {"family": "current_mode", "layers": [2, 3, 2]},
    "substrate": {"backend": "emulator", "update": {"law": "constant", "step": 0.004}},
    "instruments": {"scope": {"model": "keysight-dsox3024t", "channels": {1: "output.0"}}},
    "boards": {"chip": {"converters": {"node_noise_volts": 0.0}}},
}
NODE_STEP = 0.25 / 32767
COUPLING = "input-hidden1"
ARRAYS = ("input-hidden1", "hidden1-output", "output-hidden1")


def test_how_to_get_what_a_board_runs_on_is_said(virtual_bench: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emulators.bench.board.importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        InputError, match=r"pip install 'analog-substrate\[bench\]', or in a clone pip install -e '\.\[be"
    ):
        virtual_bench(BENCH)


@pytest.mark.parametrize("transport", ["pty", "tcp"])
def test_the_board_and_the_bench_act_on_one_chip(transport: str, virtual_bench: Open) -> None:
    bench = virtual_bench({**BENCH, "boards": {"chip": {"transport": transport, **BENCH["boards"]["chip"]}}})
    assert list(bench.resources) == ["scope", "chip"]
    assert bench.model_of("chip") == "reference-board"
    plant = bench.plant
    assert isinstance(plant, NetworkPlant)
    section = BoardConfig.model_validate(section_of(bench.resources["chip"]))
    inputs = np.array([[0.1, -0.15]])
    with BoardSubstrate(plant.substrate.network, section) as board:
        board.hold(inputs)
        free = board.settle().volts[0, 0]
        seen = plant.respond(inputs, np.zeros((1, plant.substrate.network.node_count)))[0]
        # A step of the node converter, and of the input converters through the network.
        np.testing.assert_allclose(free, seen, atol=2 * NODE_STEP)
        version, lines = plant.version, plant.arrays[0]
        before, admittance = plant.conductances(lines.name), np.array(lines.admittance())
        shape = plant.substrate.network.array(COUPLING).cell_shape
        board.write_cells(WriteRequest(COUPLING, pulses=np.full(shape, 5)))
        assert plant.version > version
        moved = plant.conductances(lines.name) - before
        assert np.all(moved > 0)
        rows = len(moved)
        change = np.array(lines.admittance()) - admittance
        np.testing.assert_allclose(-change[:rows, rows:], moved, rtol=1e-9)


def test_the_command_lists_boards(tmp_path: Path) -> None:
    path, ready, link = tmp_path / "bench.yaml", tmp_path / "ready.json", tmp_path / "port"
    path.write_text(yaml.safe_dump({**BENCH, "boards": {"chip": {"link": str(link)}}}))
    arguments = [sys.executable, "-m", "substrate.cli", "bench", str(path), "--ready-file", str(ready)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for _ in range(600):
            if ready.exists() or process.poll() is not None:
                break
            time.sleep(0.05)
        listed = json.loads(ready.read_text())["instruments"]
        with BoardSubstrate(Network((2, 3, 2)), BoardConfig.model_validate(section_of(str(link)))) as board:
            assert board.read_cells(COUPLING).shape == (2, 3, 3)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 130, err
    assert listed[-1] == {"name": "chip", "model": "reference-board", "resource": str(link)}
    assert out.splitlines()[-1].split() == ["chip", "reference-board", str(link)]
    assert not link.is_symlink()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"boards": {"scope": {}}}, r"boards\.scope: an instrument"),
        ({"boards": {"chip": {}}, "adapters": {"chip": {}}}, r"boards\.chip: an adapter"),
        ({"boards": {"chip": {"port": 5}}}, r"boards\.chip.*port: belongs to transport: tcp"),
        ({"boards": {"chip": {"transport": "tcp", "link": "x"}}}, r"boards\.chip.*link: belongs to transport: pty"),
        ({"boards": {"chip": {"converters": {"max_payload": 10}}}}, r"boards\.chip\.converters\.max_payload"),
        ({"boards": {"chip": {"colour": 1}}}, r"boards\.chip\.colour: unknown key"),
        ({"faults": [{"kind": "delay", "instrument": "other"}]}, "other"),
        ({"network": None, "substrate": None, "crossbar": {"shape": [2, 2]}}, "boards: a board holds a network"),
    ],
)
def test_boards_of_bench_files_are_checked(change: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        VirtualBench({**BENCH, **change})


def test_a_port_that_is_taken_or_a_link_without_a_folder_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        bench = VirtualBench({**BENCH, "boards": {"chip": {"transport": "tcp", "port": port}}})
        with pytest.raises(InputError, match="chip: cannot listen"), bench:
            pass
        assert bench.resources == {}
    with (
        pytest.raises(InputError, match=r"boards\.chip\.link"),
        VirtualBench({**BENCH, "boards": {"chip": {"link": str(tmp_path / "none" / "port")}}}),
    ):
        pass


def test_the_gradient_is_checked_on_the_board_as_the_readme_says(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    found = re.search(r"<!-- check-command -->\n```bash\n(.*?)```", (root / "README.md").read_text("utf-8"), re.DOTALL)
    assert found is not None
    (tmp_path / "experiments").symlink_to(root / "experiments")
    command = tmp_path / "bin" / "substrate"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m substrate.cli "$@"\n')
    command.chmod(0o755)
    environment = {**os.environ, "PATH": f"{command.parent}:{os.environ['PATH']}"}
    script = f"trap 'kill $!; wait' EXIT\n{found[1]}"
    done = subprocess.run(
        ["bash", "-ec", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "reference multiplexed; 4 samples" in done.stdout
    lines = [line.split() for line in done.stdout.splitlines()]
    cosines = {words[0]: float(words[1]) for words in lines if len(words) == 5 and words[0] in (*ARRAYS, "total")}
    assert set(cosines) == {*ARRAYS, "total"}
    assert min(cosines.values()) > 0.99
    assert not (tmp_path / "board.json").exists()
