"""What transport faults make of an answer; pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, final

from emulators.bench.faults import Rule

SPLIT_SECONDS = 0.5
"""Pause of a split answer whose rule states none."""

TRICKLE_SECONDS = 0.01
"""Between the bytes of one that trickles."""

BANNER = b"BOOT ready\r\n"


@final
@dataclass(frozen=True)
class Reply:
    """What is sent in the place of an answer.

    Attributes:
        late: held back, to be sent before the next answer.
        answer: of the instrument.
        pieces: (seconds to wait before, bytes), in turn.
        end: how the connection ends afterwards.
        deaf_seconds: for which nothing is read.
        gone_seconds: for which an unplugged device is gone.
    """

    late: bytes
    answer: bytes
    pieces: tuple[tuple[float, bytes], ...] = field(default=())
    end: Literal["", "close", "abort", "unplug"] = ""
    deaf_seconds: float = 0.0
    gone_seconds: float = 0.0


def spoil(reply: Reply, rules: Sequence[Rule]) -> Reply:
    """Apply faults in the order of their rules; ``value`` is in seconds where a fault takes time."""
    reply = replace(reply, pieces=((0.0, reply.late + reply.answer),), late=b"")
    for rule in rules:
        reply = _spoil(reply, rule)
    return reply


def joined(pieces: Sequence[tuple[float, bytes]]) -> list[tuple[float, bytes]]:
    """Pieces that nothing stands between, as one."""
    out: list[tuple[float, bytes]] = []
    for wait, data in pieces:
        if out and not wait:
            out[-1] = (out[-1][0], out[-1][1] + data)
        else:
            out.append((wait, data))
    return out


def _spoil(reply: Reply, rule: Rule) -> Reply:
    pieces = reply.pieces
    sent = b"".join(data for _, data in pieces)
    body = sent.rstrip(b"\r\n")
    half = len(body) // 2
    match rule.kind:
        case "no_answer":
            return replace(reply, pieces=())
        case "delay":
            return replace(reply, pieces=((rule.value, b""), *pieces))
        case "stale":
            return replace(reply, pieces=(), late=sent)
        case "split":
            return replace(reply, pieces=((0.0, sent[:half]), (rule.value or SPLIT_SECONDS, sent[half:])))
        case "trickle":
            wait = rule.value or TRICKLE_SECONDS
            return replace(reply, pieces=tuple((wait, sent[at : at + 1]) for at in range(len(sent))))
        case "drop_during":
            return replace(reply, pieces=((0.0, sent[:half]),), end="close")
        case "drop_after":
            return replace(reply, end="close")
        case "reset":
            return replace(reply, pieces=(), end="abort")
        case "back_pressure":
            return replace(reply, deaf_seconds=rule.value or SPLIT_SECONDS)
        case "wrong_terminator":
            return replace(reply, pieces=((0.0, body + b"\r"),) if sent else ())
        case "no_terminator":
            return replace(reply, pieces=((0.0, body),))
        case "banner":
            return replace(reply, pieces=((0.0, rule.text.encode("latin-1", "replace") or BANNER), *pieces))
        case "duplicate":
            return replace(reply, pieces=(*pieces, *pieces))
        case "truncate":
            return replace(reply, pieces=((0.0, body[:half] + sent[len(body) :]),))
        case "garbage":
            return replace(reply, pieces=((0.0, sent[:half] + b"\xff" + sent[half + 1 :] if sent else b""),))
        case "unplug":
            return replace(reply, pieces=(), end="unplug", gone_seconds=rule.value or SPLIT_SECONDS)
        case _:
            return reply
