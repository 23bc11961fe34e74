"""The instruments of the virtual bench, one file each.

How to add one
==============

1.  A file ``instruments/MAKER_MODEL.py`` with a final class and, at its end, ``MODELS = {"maker-model": TheClass}``:
    the bench finds it by that name; nothing else has to be edited. Variants of a model get a name each, and take
    themselves apart by their class (no options for what is printed on the front panel).

2.  The class derives from ``ScpiInstrument`` (``scpi_instrument.py``) if it speaks SCPI, otherwise from ``Instrument``
    (``base.py``) with a ``framer()`` from ``protocol/framing.py`` and an ``execute(message) -> bytes`` of its own
    dialect (``protocol/tsp.py``, ``protocol/srs.py``, ...). ``execute`` never raises: whatever a client sends ends in
    the instrument's own way of reporting errors.

3.  ``ports()`` names the terminals that a bench file can wire (``channels: {1: output.0}``): each is a node of the one
    circuit, ``self.node(port)``.

4.  The circuit is ``self.fixture`` (``fixture.py``). What drives: ``attach(node, VoltageSource(Constant(0.1),
    series_ohms=50.0))``, ``CurrentSource``, ``GROUND``, or ``None`` to let go; ``limit_amperes`` is the compliance, and
    ``in_compliance(node)`` asks for it. Own waveforms derive from ``sources.Waveform`` and are functions of the bench's
    clock. What senses: ``load(node, ohms)`` for an input resistance, ``volts([nodes], times) -> (time, node)``,
    ``amperes([nodes], times)`` for what the source at a node delivers (positive out of the terminal). What switches:
    ``connect(a, b, ohms)``, ``disconnect(a, b)``. These are exact solutions of the circuit: range, resolution,
    accuracy and noise are the instrument's business, drawn from ``self.rng``.

5.  Time is ``self.clock.seconds``, simulated. What takes time calls ``self.spend(seconds)`` (the integration of a
    reading: solve at times within it, average, then spend it). What goes on in the background (a burst, an armed
    record) calls ``self.occupy(seconds)``; what does something meanwhile (a train of pulses) is a generator that gives
    the seconds to its next step, for ``self.begin(steps)``. ``*WAI``, ``*OPC?`` and ``self.finish()`` then let the
    clock run to its end, ``self.free()`` breaks it off. ``breaks_in`` is what is heard meanwhile, if that is not all.
    Never read the wall clock, never sleep.

6.  ``commands()`` returns the table. Settings are one row each: ``self.number(pattern, key, default, low, high,
    unit="HZ")``, ``self.choice(pattern, key, default, ["SINusoid", "SQUare"])``, ``self.switch``, ``self.text``; read
    them with ``self.value(key, *suffixes)``: the numeric suffixes of the header (``[SOURce#2]:...``), 1 where none was
    given. ``changed=`` is called after a change. Everything else is ``Command(pattern, write, query, most)`` with
    functions of a ``Request`` (``number``, ``integer``, ``boolean``, ``choice``, ``text``, ``block``, ``channels``),
    which raise ``ScpiError(code)``: it lands in the error queue. ``block(data)`` makes an IEEE 488.2 block. Patterns
    are written as in manuals; alternatives are separated by spaces. Numbers out of range are refused, never clipped,
    unless the manual says that the instrument clips.

7.  ``reset()`` brings outputs off after ``*RST`` (settings are back at their defaults by then); ``outputs_off()``
    takes everything off the circuit; ``trigger()`` is ``*TRG``.

8.  ``self.strict``: refuse also what the real instrument refuses but does no harm (``errors`` in the manual).
    ``self.faults.active(self.name, kind)`` lists faults that the instrument is to suffer (``gain``, ``overload``, ...);
    messages, identity, error queue and power are dealt with outside.

9.  Figures (ranges, resolution, noise, rates) cite the data sheet and its section, or say that they are not confirmed.

10. Tests in ``tests/protocol/``: exact bytes against ``execute``, and PyMeasure's class, unmodified, over the
    ``virtual_bench`` fixture, with physically right values.

``keysight_33512b.py`` (sources), ``keysight_infiniivision.py`` (records and blocks), ``keithley_2400.py`` (source and
meter) and ``keysight_b2201.py`` (relays) are the models to copy.
"""

from importlib import import_module
from pkgutil import iter_modules

from emulators.bench.instruments.base import Instrument
from substrate.errors import InputError

_found: dict[str, type[Instrument]] = {}


def models() -> dict[str, type[Instrument]]:
    """All instruments by the name of their model."""
    if not _found:
        for module in iter_modules(__path__):
            _found.update(getattr(import_module(f"{__name__}.{module.name}"), "MODELS", {}))
    return dict(_found)


def model(name: str) -> type[Instrument]:
    """The instrument of this model.

    Raises:
        InputError: there is none of this name; names those there are.
    """
    known = models()
    if name not in known:
        raise InputError(f"model: expected one of {', '.join(sorted(known))}, got {name!r}")
    return known[name]
