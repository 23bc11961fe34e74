"""Addresses of instruments as text, and the links they stand for.

=============================================  =============================================================
``TCPIP::host::port::SOCKET``                  a TCP socket
``ASRL/dev/ttyUSB0::INSTR``, ``ASRL3::INSTR``  a serial port or pseudo-terminal
``socket://host:port``                         a serial line behind a terminal server
``PRLGX-TCPIP::host::port::GPIB::address``     GPIB, behind a Prologix-style adapter on Ethernet
``USB...``, ``GPIB0::9::INSTR``, ...           all else: what PyVISA makes of it
=============================================  =============================================================
"""

import re

from drivers.prologix import PrologixLink
from drivers.socket_link import SocketLink
from drivers.transport import Link, SerialLink, Transcript
from drivers.visa_link import VisaLink
from substrate.errors import InputError

PROLOGIX_PORT = 1234


def open_link(
    resource: str,
    *,
    baud: int = 9600,
    library: str = "@py",
    connect_seconds: float = 2.0,
    transcript: Transcript | None = None,
) -> Link:
    """The link, not yet opened, to an address.

    Args:
        resource: as in the table above; case does not matter but in names of files.
        baud: of serial ports.
        library: of PyVISA, where it is used.
        connect_seconds: within which the other side has to accept.
        transcript: hears all that is sent and received.

    Raises:
        InputError: an address that has none of these forms.
    """
    if match := re.fullmatch(r"TCPIP\d*::([^:]+|\[.+\])::(\d+)::SOCKET", resource, re.IGNORECASE):
        return SocketLink(match[1].strip("[]"), _port(resource, match[2]), connect_seconds, transcript)
    if match := re.fullmatch(r"PRLGX-TCPIP\d*::([^:]+)(?:::(\d+))?::GPIB::(\d+)", resource, re.IGNORECASE):
        if int(match[3]) > 30:
            raise InputError(f"resource: expected a GPIB address of 0 to 30, got {match[3]} in {resource!r}")
        port = _port(resource, match[2] or str(PROLOGIX_PORT))
        return PrologixLink(match[1], port, int(match[3]), connect_seconds, transcript)
    if match := re.fullmatch(r"ASRL(.+?)(?:::INSTR)?", resource, re.IGNORECASE):
        # VISA counts from 1, Linux from 0.
        device = f"/dev/ttyS{int(match[1]) - 1}" if match[1].isdigit() and match[1] != "0" else match[1]
        return SerialLink(device, baud, transcript)
    if match := re.fullmatch(r"socket://([^:/]+|\[.+\]):(\d+)", resource):
        # Not by pyserial, whose ports of this kind take .3 s to close.
        return SocketLink(match[1].strip("[]"), _port(resource, match[2]), connect_seconds, transcript)
    if resource.startswith("/dev/"):
        return SerialLink(resource, baud, transcript)
    if "::" in resource:
        return VisaLink(resource, library, connect_seconds, transcript)
    raise InputError(f"resource: expected an address such as TCPIP::host::port::SOCKET, got {resource!r}")


def _port(resource: str, digits: str) -> int:
    if not 1 <= int(digits) <= 65535:
        raise InputError(f"resource: expected a port of 1 to 65535, got {digits} in {resource!r}")
    return int(digits)
