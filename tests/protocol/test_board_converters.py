"""The converter layer for real chips, on MicroPython with a stand-in for the machine: exact words on the bus."""

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest

import drivers

FIRMWARE = Path(drivers.__file__).parent / "firmware"

MACHINE = """
log = []


class Pin:
    OUT = 1

    def __init__(self, number, mode, value=0):
        self.number = number

    def value(self, level):
        log.append(["pin", self.number, level])


class SPI:
    reading = 0x8000

    def __init__(self, *arguments, **named):
        pass

    def write(self, data):
        log.append(["matrix"] + list(data))

    def write_readinto(self, data, answer):
        log.append(["spi"] + list(data))
        if len(data) == 4:
            answer[2], answer[3] = SPI.reading >> 8, SPI.reading & 255


class UART:
    pass
"""

SCRIPT = """
import sys, json, array
sys.path.insert(0, {machine!r})
sys.path.insert(0, {firmware!r})
import machine, converters
layer = converters.Converters()
sections = {{"start": machine.log[:]}}
def take(name, result=None):
    sections[name] = [machine.log[:], None if result is None else list(result)]
    machine.log.clear()
machine.log.clear()
machine.SPI.reading = 0x8000 + 1000
held = array.array("h", [100, -100])
take("free", layer.measure(0, held, array.array("h"), array.array("h"), 1, 1, 1))
peaks = array.array("h", [0] * 8 + [20000, -20000])
take("stepped", layer.measure(1, held, peaks, array.array("h", [32767, -16384]), 1, 2, 2))
machine.SPI.reading = 0xFFFF
take("full", layer.measure(0, held, array.array("h"), array.array("h"), 1, 1, 1))
machine.SPI.reading = 0x8000 + 6400
take("cells", layer.cells(0, 23, 1))
take("pulse", layer.pulse(0, array.array("I", [0, 47]), array.array("h", [2, -3])))
print(json.dumps([sections, layer.pulses]))
"""


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    folder = tmp_path_factory.mktemp("machine")
    (folder / "machine.py").write_text(MACHINE)
    script = folder / "script.py"
    script.write_text(SCRIPT.format(machine=str(folder), firmware=str(FIRMWARE)))
    done = subprocess.run(
        [sys.executable, "-m", "micropython_unix", str(script)], capture_output=True, text=True, timeout=60, check=True
    )
    return json.loads(done.stdout)


def words(entries, size=3):
    return [entry[1:] for entry in entries if entry[0] == "spi" and len(entry) == size + 1]


def outputs(entries):
    """(chip select, DAC, code) of what is loaded into the DACs."""
    found, selected = [], None
    for entry in entries:
        if entry[0] == "pin" and entry[1] in (5, 6, 7) and entry[2] == 0:
            selected = entry[1]
        elif entry[0] == "spi" and len(entry) == 4 and entry[1] < 8:
            found.append((selected, entry[1], struct.unpack(">h", bytes(entry[2:]))[0]))
    return found


def test_start(log):
    start = log[0]["start"]
    # AD5754R: range register of all four DACs to +-5 V, then power to all and to the reference.
    assert words(start)[:6] == [[0x0C, 0, 3], [0x10, 0, 0x1F]] * 3
    # ADS8688: range register 05h + channel, write bit, +-0.625 times the reference.
    assert [word for word in words(start) if word[0] >= 0x0B and word[1] == 2] == [
        [(5 + channel) * 2 + 1, 2, 0] for _ in range(2) for channel in range(8)
    ]
    assert outputs(start) == [(select, dac, 0) for select in (5, 6, 7) for dac in range(4)]
    assert start.index(["pin", 10, 0]) > start.index(["spi", 3, 0, 0])
    assert ["matrix", 0, 0, 0, 0] in start


def test_a_free_reading(log):
    entries, answer = log[0]["free"]
    assert outputs(entries)[:2] == [(5, 0, 100), (5, 1, -100)]
    # Each reading: the channel is selected twice, and the second frame brings it.
    selected = [word[0] << 8 | word[1] for word in words(entries, 4)]
    assert selected == [0xC000 | channel << 10 for node in range(10) for channel in [node % 8] * 2]
    assert answer[0] == 0
    assert struct.unpack("<10h", bytes(answer[1:])) == (1000,) * 10


def test_a_stepped_record(log):
    entries, answer = log[0]["stepped"]
    currents = [code for select, dac, code in outputs(entries) if (select, dac) in ((5, 2), (5, 3))]
    # Peak times level, twice around the table, and zero at the end.
    assert currents == [20000, -20000, -10000, 10000] * 2 + [0, 0]
    assert len(answer) == 1 + 2 * 4 * 10


def test_a_reading_at_the_end_of_the_range_is_flagged(log):
    _, answer = log[0]["full"]
    assert answer[0] == 1
    assert struct.unpack("<10h", bytes(answer[1:])) == (32767,) * 10


def test_a_cell(log):
    entries, answer = log[0]["cells"]
    # 0.1 V of 0.25 V on the last DAC; 6400 codes are 0.5 V behind 10 kilohms.
    assert outputs(entries)[0] == (7, 3, 13107)
    assert ["matrix", 1, 0, 2, 7] in entries
    assert struct.unpack("<f", bytes(answer))[0] == pytest.approx(6400 * 2.56 / 32767 / 1e4 / 0.1, rel=1e-6)
    assert entries.index(["matrix", 0, 0, 0, 0]) > entries.index(["matrix", 1, 0, 2, 7])


def test_pulses(log):
    entries, answer = log[0]["pulse"]
    assert log[1] == 5
    assert answer == []
    # Cell 0 of the positive plane, up; cell 47 is the last of the negative one, down.
    first, second = entries.index(["matrix", 1, 0, 0, 0]), entries.index(["matrix", 1, 1, 2, 7])
    assert entries[first:second].count(["pin", 12, 1]) == 2
    assert entries[first:second].count(["pin", 13, 1]) == 0
    assert entries[second:].count(["pin", 13, 1]) == 3
    assert entries[second:].count(["pin", 13, 0]) >= 3


WATCHED = """

class WDT:
    def __init__(self, timeout):
        log.append(["guard", timeout])

    def feed(self):
        log.append(["feed"])
"""

GUARDED = """
import sys, json, array
sys.path.insert(0, {machine!r})
sys.path.insert(0, {firmware!r})
import machine, converters, board
{setting}
layer = converters.Converters()
class Silent:
    def write(self, data):
        pass
board.Board(layer, sys.stdin.buffer, Silent()).run()
served = machine.log[:]
machine.log.clear()
layer.pulse(0, array.array("I", [0, 47]), array.array("h", [2, -3]))
pulsed = machine.log.count(["feed"])
layer.cells(0, 0, 7)
print(json.dumps([served, pulsed, machine.log.count(["feed"]) - pulsed]))
"""


@pytest.mark.parametrize(
    ("has", "setting", "milliseconds"),
    [(True, "", 8000), (True, "converters.WATCHDOG_MILLISECONDS = 0", None), (False, "", None)],
)
def test_the_microcontrollers_own_watchdog(tmp_path, has, setting, milliseconds):
    """Started once outputs are at zero, and fed as the firmware goes round and by whatever may take long."""
    (tmp_path / "machine.py").write_text(MACHINE + (WATCHED if has else ""))
    script = tmp_path / "script.py"
    script.write_text(GUARDED.format(machine=str(tmp_path), firmware=str(FIRMWARE), setting=setting))
    done = subprocess.run(
        [sys.executable, "-m", "micropython_unix", str(script)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    served, pulsed, read = json.loads(done.stdout)
    started = [entry[1] for entry in served if entry[0] == "guard"]
    assert started == ([] if milliseconds is None else [milliseconds])
    assert (["feed"] in served, pulsed, read) == ((False, 0, 0) if milliseconds is None else (True, 5, 7))
    if started:
        assert served.index(["matrix", 0, 0, 0, 0]) < served.index(["guard", milliseconds]) < served.index(["feed"])
