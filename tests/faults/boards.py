"""A reference board for tests: the real firmware on MicroPython, an emulated chip, and a driver of little patience."""

import os
import time
from contextlib import contextmanager

import numpy as np

from drivers.board import BoardSubstrate
from drivers.board_section import BoardConfig, section_of
from emulators.bench.board import VirtualBoard
from emulators.bench.board_chip import BoardConverters
from emulators.bench.faults import Faults, Rule
from emulators.config import EmulatorConfig
from emulators.substrate import EmulatedSubstrate
from substrate.network import Network

NETWORK = Network((2, 4, 2))
PULSED = {"law": "constant", "step": 0.004}
COUPLING = "input-hidden1"
SHAPE = (2, 3, 4)


class Rig:
    """The parts of a board under test."""

    def __init__(self, chip_device, board, faults):
        self.device = chip_device
        self.board = board
        self.faults = faults

    @property
    def chip(self):
        return self.board.chip

    def fault(self, kind, pattern, **more):
        return self.faults.add(Rule(kind, pattern=pattern, **more))

    def driver(self, **section):
        # Declared from the chip, so that no greeting is spent on asking for it.
        patience = {"answer_seconds": 0.15, "reconnect_seconds": 3.0, "watchdog_seconds": 0.5}
        given = {**self.section, "port": self.board.resource, **patience, **section}
        return BoardSubstrate(self.device.network, BoardConfig.model_validate(given))

    section: dict


@contextmanager
def rig(network=NETWORK, update=PULSED, transport="pty", link=None, converters=None):
    config = EmulatorConfig.model_validate({"backend": "emulator", "update": update})
    device = EmulatedSubstrate(network, config, np.random.default_rng(1))
    faults = Faults(np.random.default_rng(2))
    board = VirtualBoard(
        device,
        np.random.default_rng(3),
        transport,
        link=link,
        faults=faults,
        converters=converters or BoardConverters(node_noise_volts=0.0),
    )
    with device, board:
        found = Rig(device, board, faults)
        found.section = section_of(board.resource)
        yield found


def open_files():
    return len(os.listdir("/proc/self/fd"))


def eventually(condition, seconds=5.0):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True
