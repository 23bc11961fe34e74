"""The converter layer for real chips: AD5754R DACs, ADS8688 ADCs, and a switch matrix on shift registers.

The only file that knows the hardware; everything above the class is what to edit for another one.
Parts and their commands: AD5754R data sheet (Analog Devices, rev. F), tables 17 to 24; ADS8688 data sheet (Texas
Instruments, SBAS582), tables 6 to 12.

Never run on hardware: the words on the bus are tested against the data sheets with a stand-in for ``machine``, the
timing, the switch matrix and the pulse drivers against nothing. board-protocol.md, section 9: what has to be adapted.
"""

import array
import struct
import time

import machine

SERIAL = "1"
BAUD = 921600
MAX_PAYLOAD = 16384

# The chip: a network of two inputs, eight hidden and two output nodes.
INPUTS = 2
NODES = 10
OUTPUTS = 2
ARRAYS = [["input-hidden1", 2, 3, 8], ["hidden1-output", 2, 9, 2], ["output-hidden1", 2, 2, 8]]
VOLTS_PER_UNIT = 0.2
UNIT_SIEMENS = 2.5e-5
WINDOW_SIEMENS = [1.0e-6, 1.0e-4]
STEP_SIEMENS = [1.0e-7, 1.0e-7]
LIMITS = {"read_volts": 0.25, "write_volts": 2.0, "current_amperes": 2.0e-5}

# Between converters and chip.
INPUT_RANGE_VOLTS = 0.25
"""+-5 V of the DAC behind a divider by 20."""

CURRENT_RANGE_AMPERES = 2.0e-5
"""+-5 V of the DAC over 250 kilohms."""

NODE_RANGE_VOLTS = 0.25
"""+-2.56 V of the ADC in front of which the nodes are amplified by 10.24."""

CELL_OHMS = 1.0e4
"""Transimpedance of the amplifier that reads single cells, on ADC channel ``CELL_CHANNEL``."""

READ_VOLTS = 0.1
PULSE_VOLTS = 2.0
PULSE_MICROSECONDS = 10
SETTLE_MICROSECONDS = 20
STEP_SECONDS = 2.0e-4

WATCHDOG_MILLISECONDS = 8000
"""Of the microcontroller's own watchdog, which starts the board anew when the firmware hangs; 0: it is not used. An
RP2040 has 8388 at most."""

# Pins.
UART = 0
SPI = 0
DAC_SELECTS = [5, 6, 7]
"""One AD5754R each: the inputs, then the current ports of the output nodes, then the line that reads cells."""

ADC_SELECTS = [8, 9]
LDAC = 10
MATRIX_LATCH = 11
PULSE_UP = 12
PULSE_DOWN = 13

CELL_DAC = len(DAC_SELECTS) * 4 - 1
CELL_CHANNEL = len(ADC_SELECTS) * 8 - 1
FREE, STEPPED, HELD = range(3)
FULL_SCALE = 32767

# AD5754R: register in bits 21 to 19 of a 24-bit word, DAC address in bits 18 to 16.
DAC_DATA = 0
DAC_RANGE = 1
DAC_POWER = 2
ALL_DACS = 4
PLUS_MINUS_5_VOLTS = 3
POWER_UP_ALL = 0x1F

# ADS8688: MAN_Ch_n selects the channel whose conversion the next frame brings; 05h + n is its range.
MANUAL_CHANNEL = 0xC000
RANGE_REGISTER = 0x05
PLUS_MINUS_2_56_VOLTS = 0x02


def port():
    """(reader, writer) of the board's serial port."""
    uart = machine.UART(UART, BAUD, timeout=0, rxbuf=4096)
    return uart, uart


class Converters:
    """All converters of the board.

    Attributes:
        pulses: programming pulses given since the start.
    """

    def __init__(self):
        self.pulses = 0
        self._watchdog = None
        self._spi = machine.SPI(SPI, baudrate=10000000, polarity=0, phase=1)
        self._dacs = [machine.Pin(pin, machine.Pin.OUT, value=1) for pin in DAC_SELECTS]
        self._adcs = [machine.Pin(pin, machine.Pin.OUT, value=1) for pin in ADC_SELECTS]
        self._ldac = machine.Pin(LDAC, machine.Pin.OUT, value=1)
        self._latch = machine.Pin(MATRIX_LATCH, machine.Pin.OUT, value=0)
        self._up = machine.Pin(PULSE_UP, machine.Pin.OUT, value=0)
        self._down = machine.Pin(PULSE_DOWN, machine.Pin.OUT, value=0)
        for chip in self._dacs:
            self._dac_word(chip, DAC_RANGE, ALL_DACS, PLUS_MINUS_5_VOLTS)
            self._dac_word(chip, DAC_POWER, 0, POWER_UP_ALL)
        for chip in self._adcs:
            for channel in range(8):
                self._transfer(chip, struct.pack(">BBB", (RANGE_REGISTER + channel) << 1 | 1, PLUS_MINUS_2_56_VOLTS, 0))
        self.zero()

    def describe(self):
        """What the chip and its converters are."""
        return {
            "serial": SERIAL,
            "max_payload": MAX_PAYLOAD,
            "inputs": INPUTS,
            "nodes": NODES,
            "outputs": OUTPUTS,
            "arrays": ARRAYS,
            "volts_per_unit": VOLTS_PER_UNIT,
            "unit_siemens": UNIT_SIEMENS,
            "input_range_volts": INPUT_RANGE_VOLTS,
            "node_range_volts": NODE_RANGE_VOLTS,
            "current_range_amperes": CURRENT_RANGE_AMPERES,
            "limits": LIMITS,
            "window_siemens": WINDOW_SIEMENS,
            "step_siemens": STEP_SIEMENS,
            "step_seconds": STEP_SECONDS,
            "pulse_volts": PULSE_VOLTS,
            "pulse_seconds": PULSE_MICROSECONDS * 1e-6,
            "pulses": True,
            "continuous_writing": False,
            "resets": False,
            "node_nudges": False,
            "forward_products": False,
            "transposed_products": False,
        }

    def guard(self):
        """Start the microcontroller's own watchdog, where its port has one. It cannot be stopped again."""
        if WATCHDOG_MILLISECONDS and hasattr(machine, "WDT"):
            self._watchdog = machine.WDT(timeout=WATCHDOG_MILLISECONDS)

    def feed(self):
        """The firmware runs. Whatever may take long feeds for itself."""
        if self._watchdog is not None:
            self._watchdog.feed()

    def zero(self):
        """All outputs to zero, all switches open."""
        self._up.value(0)
        self._down.value(0)
        for channel in range(4 * len(DAC_SELECTS)):
            self._dac(channel, 0)
        self._update()
        self._select(0, 0, 0, False)

    def measure(self, mode, inputs, currents, levels, batch, points, periods):
        """A flag a sample (1 saturated), then codes (batch, time, node); the last inputs stay, currents end at zero."""
        marks = points if mode == HELD else 1
        flags = bytearray(batch * marks)
        codes = array.array("h", bytes(2 * batch * points * periods * NODES))
        at = 0
        for sample in range(batch):
            for channel in range(INPUTS):
                self._dac(channel, inputs[sample * INPUTS + channel])
            for step in range(points * periods):
                self.feed()
                point = step % points
                if mode == STEPPED:
                    self._nudge(currents, sample * NODES, levels[point])
                elif mode == HELD:
                    self._nudge(currents, (sample * points + point) * NODES, FULL_SCALE)
                self._update()
                time.sleep_us(SETTLE_MICROSECONDS)
                mark = sample * marks + (point if mode == HELD else 0)
                for node in range(NODES):
                    code = self._adc(node)
                    if abs(code) >= FULL_SCALE:
                        flags[mark] = 1
                    codes[at] = code
                    at += 1
            for node in range(OUTPUTS):
                self._dac(INPUTS + node, 0)
        self._update()
        return bytes(flags) + bytes(codes)

    def cells(self, which, start, count):
        """Conductances of cells, float32 siemens: current over reading voltage, one after another."""
        found = array.array("f", bytes(4 * count))
        self._dac(CELL_DAC, round(READ_VOLTS / INPUT_RANGE_VOLTS * FULL_SCALE))
        self._update()
        _, _, rows, columns = ARRAYS[which]
        volts = 2.56 / FULL_SCALE
        for place in range(count):
            self.feed()
            self._select_cell(which, start + place, rows, columns)
            time.sleep_us(SETTLE_MICROSECONDS)
            found[place] = self._adc(CELL_CHANNEL) * volts / CELL_OHMS / READ_VOLTS
        self.zero()
        return bytes(found)

    def pulse(self, which, cells, counts):
        """Signed pulse counts to cells; the board cannot tell which ones did not move."""
        _, _, rows, columns = ARRAYS[which]
        self.zero()
        for cell, count in zip(cells, counts):
            self._select_cell(which, cell, rows, columns)
            pin = self._up if count > 0 else self._down
            for _ in range(abs(count)):
                pin.value(1)
                time.sleep_us(PULSE_MICROSECONDS)
                pin.value(0)
                self.pulses += 1
                self.feed()
                time.sleep_us(PULSE_MICROSECONDS)
        self.zero()
        return array.array("I")

    def _select_cell(self, which, cell, rows, columns):
        polarity, place = divmod(cell, rows * columns)
        row, column = divmod(place, columns)
        self._select(which << 1 | polarity, row, column, True)

    def _select(self, plane, row, column, closed):
        """Four bytes into the switch matrix: closed, plane, row, column."""
        self._spi.write(bytes((closed, plane, row, column)))
        self._latch.value(1)
        self._latch.value(0)

    def _nudge(self, currents, start, level):
        hidden = NODES - OUTPUTS
        for node in range(OUTPUTS):
            peak = currents[start + hidden + node]
            # Rounded half away from zero, as the host rounds.
            product = peak * level
            half = FULL_SCALE // 2
            code = (product + half) // FULL_SCALE if product >= 0 else -((half - product) // FULL_SCALE)
            self._dac(INPUTS + node, code)

    def _dac(self, channel, code):
        """Load an output; it changes with ``_update``."""
        self._dac_word(self._dacs[channel // 4], DAC_DATA, channel % 4, code & 0xFFFF)

    def _dac_word(self, chip, register, address, data):
        self._transfer(chip, struct.pack(">BH", register << 3 | address, data))

    def _update(self):
        """All loaded outputs at once."""
        self._ldac.value(0)
        self._ldac.value(1)

    def _adc(self, channel):
        """One conversion, a signed code."""
        chip = self._adcs[channel // 8]
        command = struct.pack(">HH", MANUAL_CHANNEL | (channel % 8) << 10, 0)
        self._transfer(chip, command)
        answer = self._transfer(chip, command)
        return max((answer[2] << 8 | answer[3]) - 32768, -FULL_SCALE)

    def _transfer(self, chip, data):
        answer = bytearray(len(data))
        chip.value(0)
        self._spi.write_readinto(data, answer)
        chip.value(1)
        return answer
