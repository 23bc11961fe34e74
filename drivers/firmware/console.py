"""Text commands for people at a terminal, in SCPI style: they look, and bring outputs to zero, but drive nothing."""

import struct

HELP = "*IDN? *RST *CLS SYST:ERR? SYST:SESS? OUTP? OUTP OFF WATC? JOUR? ARR? CELL? <array>,<cell> HELP?"


def answer(board, line):
    """The answer to a line, its line end included; nothing for a command without one."""
    try:
        text = line.decode().strip()
    except UnicodeError:
        return ""
    if not text:
        return ""
    try:
        said = _carry_out(board, text)
    except (ValueError, IndexError):
        board.complain("undefined header or parameter; HELP? lists what there is")
        return ""
    except OSError as error:
        board.complain("converters: %s" % error)
        return ""
    return "" if said is None else said + "\r\n"


def _carry_out(board, text):
    words = text.split(None, 1)
    head = words[0].upper()
    if head == "*IDN?":
        return "Substrate,Reference board,%s,%s" % (board.info["serial"], board.info["firmware"])
    if head == "HELP?":
        return HELP
    if head == "*RST" or (head == "OUTP" and len(words) == 2 and words[1].upper() in ("OFF", "0")):
        board.zero()
        return None
    if head == "*CLS":
        board.errors.clear()
        return None
    if head == "SYST:ERR?":
        return '-300,"%s"' % board.errors.pop(0) if board.errors else '0,"No error"'
    if head == "SYST:SESS?":
        return "%08X" % board.session
    if head == "OUTP?":
        return "1" if board.outputs_on else "0"
    if head == "WATC?":
        return "%d,%d" % (board.watchdog_milliseconds, board.watchdog_trips)
    if head == "JOUR?":
        return ";".join(",".join(str(item) for item in entry) for entry in board.journal)
    if head == "ARR?":
        return ";".join("%s,%d,%d,%d" % tuple(entry) for entry in board.info["arrays"])
    if head == "CELL?":
        which, cell = (int(item) for item in words[1].split(","))
        if not 0 <= which < len(board.info["arrays"]) or not 0 <= cell < board.size(which):
            raise ValueError
        return "%.6E" % struct.unpack("<f", board.chip.cells(which, cell, 1))[0]
    raise ValueError
