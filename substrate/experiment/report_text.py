"""Numbers as a report writes them: SI prefixes, percent, durations; a no-break space before a unit."""

import math

__all__ = ["counted", "course", "duration", "number", "percent", "si", "si_prefix"]


def si(value: float, unit: str, digits: int = 3) -> str:
    """A number with an SI prefix: 2.5e-5, ``S`` gives ``25 µS``."""
    if not math.isfinite(value):
        return "–"
    # Rounded first: 999.6 with three digits is 1 k, not 1000.
    scale, prefix = si_prefix(abs(float(f"{value:.{digits}g}")))
    return f"{_plain(value / scale, digits)}\N{NO-BREAK SPACE}{prefix}{unit}".replace("-", "−").rstrip()


def counted(count: int, noun: str) -> str:
    """A count with its noun: 1 step, 2000 steps."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def course(first: float, last: float, count: int) -> str:
    """How a figure of ``count`` points went: was 1.2, or went from 1.2 to 0.3."""
    return f"was {last:.3g}" if count == 1 else f"went from {first:.3g} to {last:.3g}"


def percent(value: float | None, digits: int = 2) -> str:
    """A fraction in percent."""
    return "–" if value is None or not math.isfinite(value) else f"{100 * value:.{digits}f}\N{NO-BREAK SPACE}%"


def number(value: float, digits: int = 3) -> str:
    """A number for a sentence: thousands separated, ``digits`` significant ones for small values."""
    if not math.isfinite(value):
        return "–"
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}".replace("-", "−")
    return f"{value:.{digits}g}".replace("-", "−")


def si_prefix(size: float) -> tuple[float, str]:
    """The SI prefix that leaves 1 to 1000 before it, and its factor."""
    prefixes = "fpnµm kMGT"
    power = 0 if size == 0 or not math.isfinite(size) else math.floor(math.log10(size) / 3 + 1e-9)
    power = max(-5, min(4, power))
    return 1000.0**power, prefixes[power + 5].strip()


def duration(seconds: float) -> str:
    """Seconds, or minutes, or hours."""
    if seconds < 60:
        return f"{seconds:.1f}\N{NO-BREAK SPACE}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60:,} h {minutes % 60} min"


def _plain(value: float, digits: int) -> str:
    text = f"{value:.{digits}g}"
    return f"{value:.0f}" if "e" in text else text
