r"""A GPIB adapter on Ethernet that takes the commands of Prologix' GPIB-ETHERNET (user manual 1.6.6).

Lines that begin with ``++`` are for the adapter, all others for the instrument at the present address. In data, ESC
(0x1B) takes the special meaning from the CR, LF, ESC or + after it. With ``++auto 1`` the adapter makes the instrument
talk after each line; otherwise it does on ``++read``. Unlike a socket, an instrument on the bus keeps its answer until
it is made to talk; one that is written to before loses it (-410).
"""

from collections.abc import Mapping
from typing import final

from emulators.bench.conversation import Conversation
from emulators.bench.instruments.base import Instrument
from emulators.bench.instruments.scpi_instrument import ScpiInstrument
from emulators.bench.protocol.framing import LONGEST_BLOCK, TooLong

VERSION = b"Prologix GPIB-ETHERNET Controller version 01.06.06.00"
ESCAPE = 0x1B
SETTINGS = {"auto": 0, "eoi": 1, "eos": 3, "eot_enable": 0, "eot_char": 0, "mode": 1, "read_tmo_ms": 200, "savecfg": 0}
LONGEST = LONGEST_BLOCK + 64


@final
class GpibAdapter(Conversation):
    """One client of the adapter.

    Args:
        devices: by primary address.
    """

    def __init__(self, devices: Mapping[int, Instrument]) -> None:
        self._devices = devices
        self._address = min(devices, default=0)
        self._settings = dict(SETTINGS)
        self._answers: dict[int, bytes] = {}
        self._held = bytearray()
        self._escaped = False

    def messages(self, data: bytes) -> list[bytes]:
        """Lines, escapes undone; a first byte 1 marks those for the adapter."""
        out = []
        for byte in data:
            if self._escaped:
                self._held.append(byte)
                self._escaped = False
            elif byte == ESCAPE:
                self._escaped = True
                if not self._held:
                    self._held.append(0)
            elif byte in (10, 13):
                if len(self._held) > 1:
                    out.append(bytes(self._held))
                self._held.clear()
            else:
                if not self._held:
                    self._held.append(0)
                self._held.append(byte)
                if self._held[:3] == b"\0++":
                    self._held[0] = 1
            if len(self._held) > LONGEST:
                raise TooLong
        return out

    def target(self, message: bytes) -> Instrument | None:
        """The instrument at the address, for data and for ``++read``."""
        if message[0] == 1 and not message[3:].startswith((b"read", b"spoll", b"clr", b"trg")):
            return None
        return self._devices.get(self._address)

    def answer(self, message: bytes) -> bytes:
        """Of the adapter, or of the instrument when it talks."""
        if message[0] == 1:
            return self._command(message[3:].decode("latin-1").split())
        device = self._devices.get(self._address)
        if device is None:
            return b""
        if self._answers.pop(self._address, b"") and isinstance(device, ScpiInstrument):
            device.report(-410, "Query INTERRUPTED")
        # The bus carries data as one block of bytes, ended by EOI: no framing within it.
        answer = device.execute(message[1:])
        if answer:
            self._answers[self._address] = answer
        return self._talk() if self._settings["auto"] else b""

    def _talk(self) -> bytes:
        answer = self._answers.pop(self._address, b"")
        if answer and self._settings["eot_enable"]:
            answer += bytes([self._settings["eot_char"]])
        return answer

    def _command(self, words: list[str]) -> bytes:
        name, arguments = (words[0].lower(), words[1:]) if words else ("", [])
        if name == "addr":
            return self._addressed(arguments)
        if name in SETTINGS:
            return self._set(name, arguments)
        device = self._devices.get(self._address)
        if name == "read":
            return self._talk()
        if name == "ver":
            return VERSION + b"\r\n"
        if name == "spoll":
            byte = device.status_byte if isinstance(device, ScpiInstrument) else 0
            return b"%d\r\n" % byte
        if name == "clr":
            self._answers.pop(self._address, None)
        elif name == "trg" and device is not None:
            device.execute(b"*TRG")
        elif name == "rst":
            self._settings = dict(SETTINGS)
            self._answers.clear()
        elif name not in ("ifc", "loc", "llo", "srq", "lon", "status", "help"):
            return b"Unrecognized command\r\n"
        elif name == "srq":
            asks = any(isinstance(one, ScpiInstrument) and one.status_byte & 64 for one in self._devices.values())
            return b"1\r\n" if asks else b"0\r\n"
        return b""

    def _addressed(self, arguments: list[str]) -> bytes:
        if not arguments:
            return b"%d\r\n" % self._address
        if not (arguments[0].isascii() and arguments[0].isdigit() and int(arguments[0][:3]) <= 30):
            return b"Unrecognized command\r\n"
        self._address = int(arguments[0])
        return b""

    def _set(self, name: str, arguments: list[str]) -> bytes:
        if not arguments:
            return b"%d\r\n" % self._settings[name]
        text = arguments[0]
        if not (text.isascii() and text.isdigit() and len(text) <= 6):
            return b"Unrecognized command\r\n"
        self._settings[name] = int(text)
        return b""
