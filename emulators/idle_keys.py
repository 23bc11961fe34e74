"""Keys of the emulator's section that do nothing beside the others: refused where they are given.

Levels of 0 switch something off and are no such keys; sizes and limits that a network does not reach are none either.
``cells.spread`` is left alone too: it is that of cells that ``cells.forming`` forms, and of nothing else.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any, TypeAlias, final

import numpy as np

from emulators.config import EmulatorConfig
from emulators.memristors.updates import UpdateLaw, update_from_config
from substrate.network import Network
from substrate.registry import IdleKey, IdleKeys

Found: TypeAlias = Iterator[tuple[str, str]]
"""Key paths under ``substrate``, and what would make each act."""


@final
class EmulatorIdleKeys(IdleKeys):
    """Those of the section that ``EmulatorConfig`` reads."""

    def among(self, section: Mapping[str, Any], network: Network) -> Mapping[str, IdleKey]:
        """By their paths under ``substrate``."""
        config = EmulatorConfig.model_validate(section)
        parts = _parts(config, network)
        laws = [update_from_config(part.update) for part in parts.values()]
        found: dict[str, IdleKey] = {}
        for of_network in (_of_solver, _of_neurons_and_diodes, _of_feedback_paths):
            found |= {key: IdleKey(why, _default(config, key)) for key, why in of_network(config, network)}
        for of_levels in (_of_converters, _of_noise):
            found |= {key: IdleKey(why, _default(config, key)) for key, why in of_levels(config)}
        found |= {key: IdleKey(why, _default(config, key)) for key, why in _of_tiles(list(parts.values()))}
        found |= {key: IdleKey(why, _default(config, key)) for key, why in _of_temperature(config, laws)}
        for key, why in _of_disturb(parts):
            found[key] = IdleKey(why, _default(config, key))
        return found | _of_updates(parts)


def _parts(config: EmulatorConfig, network: Network) -> Mapping[str, EmulatorConfig]:
    """The device as its arrays have it, by where the sections of their own stand: those of feedback paths apart."""
    forward = {"": config.of(backward=False)}
    if config.feedback_paths is None or not any(one.backward for one in network.arrays):
        return forward
    return {**forward, "feedback_paths.": config.of(backward=True)}


def _users(parts: Mapping[str, EmulatorConfig], section: str) -> Iterator[tuple[str, list[EmulatorConfig]]]:
    """Where a section of its own stands, and the parts that have it."""
    given: dict[int, tuple[str, list[EmulatorConfig]]] = {}
    for where, part in parts.items():
        given.setdefault(id(getattr(part, section)), (where, []))[1].append(part)
    yield from given.values()


def _default(config: EmulatorConfig, key: str) -> Any:
    *parents, last = key.split(".")
    section: Any = config
    for parent in parents:
        section = getattr(section, parent)
    return type(section).model_fields[last].get_default(call_default_factory=True)


def _of_solver(config: EmulatorConfig, network: Network) -> Found:
    solver, neurons = config.solver, config.neurons
    if network.feedforward:
        sweeps = (f"sweeps.{key}" for key in type(solver.sweeps).model_fields)
        for key in ("residual", "quasi_static", "settle_periods", "settle_tolerance", *sweeps):
            yield f"solver.{key}", "acts in networks that settle; a feedforward one is one pass"
        return
    farads = neurons.node_farads + neurons.line_farads
    slow = farads or neurons.time_constant_seconds
    if solver.relaxation != "sweeps":
        for key in type(solver.sweeps).model_fields:
            yield f"solver.sweeps.{key}", "acts with solver.relaxation: sweeps"
    elif not (slow or network.resistive):
        yield (
            "solver.residual",
            ("acts with solver.relaxation: equilibrium, or beside sweeps with neurons.time_constant_seconds above 0"),
        )
    if network.resistive and not farads:
        yield "solver.quasi_static", "acts with neurons.node_farads or line_farads above 0"
    elif not slow:
        yield "solver.quasi_static", "acts with neurons.time_constant_seconds, node_farads or line_farads above 0"
    elif solver.steady_state == "transient":
        yield "solver.quasi_static", "acts with solver.steady_state: exact"
    if solver.steady_state != "transient":
        for key in ("settle_periods", "settle_tolerance"):
            yield f"solver.{key}", "acts with solver.steady_state: transient"


def _of_neurons_and_diodes(config: EmulatorConfig, network: Network) -> Found:
    neurons, diodes = config.neurons, config.diodes
    slow = neurons.time_constant_seconds or neurons.node_farads + neurons.line_farads
    if neurons.time_constant_spread and not slow:
        yield "neurons.time_constant_spread", "acts with time_constant_seconds, node_farads or line_farads above 0"
    unclamped = network.resistive and len(network.layers) == 2
    hidden = "acts with a hidden layer, whose nodes have diodes"
    if neurons.offset_spread and unclamped:
        yield "neurons.offset_spread", hidden
    if diodes is None:
        return
    if diodes.knee_volts and unclamped:
        yield "diodes.knee_volts", hidden
    for key in ("saturation_amperes", "emission", "thermal_volts"):
        if diodes.law == "ideal":
            yield f"diodes.{key}", "acts with diodes.law: shockley"
        elif unclamped:
            yield f"diodes.{key}", hidden


def _of_converters(config: EmulatorConfig) -> Found:
    if not config.converters.dac_bits:
        yield "converters.dac_range_volts", "acts with dac_bits above 0; an ideal converter has no range"
    if not config.converters.adc_bits:
        yield "converters.adc_range_volts", "acts with adc_bits above 0; an ideal converter has no range"


def _of_noise(config: EmulatorConfig) -> Found:
    noise = config.noise
    levels = {
        "white.shot_bandwidth_hz": (noise.white.shot_bandwidth_hz, ("shot_fano",)),
        "reading_flicker.white_volts_per_root_hertz": (
            noise.reading_flicker.white_volts_per_root_hertz,
            ("corner_hz", "lowest_hz", "highest_hz"),
        ),
        "mains.volts": (noise.mains.volts, ("frequency_hz", "spread")),
        "cell_flicker.relative_at_one_hertz": (
            noise.cell_flicker.relative_at_one_hertz,
            ("lowest_hz", "highest_hz"),
        ),
        "read_disturb.fraction_per_reading": (noise.read_disturb.fraction_per_reading, ("attractor",)),
    }
    for level, (value, keys) in levels.items():
        section, _, name = level.partition(".")
        for key in keys:
            if not value:
                yield f"noise.{section}.{key}", f"acts with {name} above 0"
    telegraph = noise.telegraph
    if telegraph.fraction and telegraph.amplitude:
        return
    for key in ("amplitude_spread", "capture_hz", "emission_hz", "rate_decades"):
        yield f"noise.telegraph.{key}", "acts with fraction and amplitude above 0"
    if telegraph.fraction:
        yield "noise.telegraph.fraction", "acts with amplitude above 0"
    if telegraph.amplitude:
        yield "noise.telegraph.amplitude", "acts with fraction above 0"


def _of_feedback_paths(config: EmulatorConfig, network: Network) -> Found:
    paths = config.feedback_paths
    if paths is None:
        return
    if not any(one.backward for one in network.arrays):
        yield "feedback_paths", "act with network.feedback: separate, loop, direct or product, whose arrays they are"
    elif paths.cells is None and paths.update is None and paths.wires is None:
        yield "feedback_paths", "act with cells, update or wires in them"


def _of_disturb(parts: Mapping[str, EmulatorConfig]) -> Found:
    for where, users in _users(parts, "cells"):
        lossy = any(one.wires.segment_ohms or one.wires.source_ohms for one in users)
        disturb = users[0].cells.disturb
        if disturb is not None and disturb.wire_loss and not lossy:
            yield f"{where}cells.disturb.wire_loss", "acts with wires.segment_ohms or source_ohms above 0"


def _of_tiles(parts: Sequence[EmulatorConfig]) -> Found:
    tiles = parts[0].tiles
    if tiles is None:
        return
    if tiles.summation == "analog":
        acts = any(
            one.wires.segment_ohms
            or one.wires.source_ohms
            or one.wires.sense_ohms
            or one.cells.disturb
            or one.neurons.line_farads
            or one.unselected != "isolated"
            for one in parts
        )
        if not acts:
            yield (
                "tiles",
                "act with summation: digital, wires.segment_ohms, source_ohms or sense_ohms, cells.disturb, "
                "neurons.line_farads or operation.unselected; without them the sums are those of one array",
            )
            return
        if tiles.adc_bits:
            yield "tiles.adc_bits", "acts with tiles.summation: digital"
    if tiles.summation == "analog" or not tiles.adc_bits:
        yield "tiles.adc_range_amperes", "acts with tiles.summation: digital and adc_bits above 0"


def _of_temperature(config: EmulatorConfig, laws: Sequence[UpdateLaw]) -> Found:
    section = config.temperature
    activated = section.retention_activation_electronvolts
    warmer = section.temperature_kelvin != section.reference_kelvin
    if not (section.conductance_per_kelvin or activated):
        yield (
            "temperature.reference_kelvin",
            "acts with conductance_per_kelvin or retention_activation_electronvolts other than 0",
        )
        if not config.noise.white.thermal_bandwidth_hz:
            yield (
                "temperature.temperature_kelvin",
                "acts with conductance_per_kelvin, retention_activation_electronvolts or "
                "noise.white.thermal_bandwidth_hz other than 0",
            )
    if section.conductance_per_kelvin and not warmer:
        yield "temperature.conductance_per_kelvin", "acts with a temperature_kelvin other than reference_kelvin"
    if activated and all(law.retention is None for law in laws):
        yield "temperature.retention_activation_electronvolts", "acts with a retention of the update law"
    elif activated and not warmer:
        yield (
            "temperature.retention_activation_electronvolts",
            "acts with a temperature_kelvin other than reference_kelvin",
        )


def _of_updates(parts: Mapping[str, EmulatorConfig]) -> dict[str, IdleKey]:
    found = {}
    for where, users in _users(parts, "update"):
        update = users[0].update
        law = update_from_config(update)
        defaults = {field.name: field.default for field in fields(law) if field.default is not MISSING}
        for key, why in _of_law(law, formed=any(one.cells.forming is not None for one in users)):
            # Of a preset they are not given.
            if key in update and key in defaults:
                found[f"{where}update.{key}"] = IdleKey(why, defaults[key])
    return found


def _of_law(law: UpdateLaw, *, formed: bool) -> Found:
    """Keys beside the name of an update law."""

    def value(key: str) -> Any:
        return getattr(law, key, 0.0)

    if not formed and law.programming_noise:
        yield "programming_noise", "acts on cells that cells.forming forms"
    if not value("step_spread"):
        yield "step_distribution", "acts with step_spread above 0"
    compound = value("cycle_offset") or value("cycle_slope")
    for key in ("cycle_noise", "cycle_offset", "cycle_slope"):
        if not value("cycle_spread") and (key == "cycle_noise" or value(key)):
            yield key, "acts with cycle_spread above 0"
    if value("cycle_spread") and compound:
        yield "cycle_noise", "acts with cycle_offset and cycle_slope at 0"
    if not np.any(value("bound_spread")):
        yield "bound_reference", "acts with bound_spread above 0"
    if law.one_sided and not value("amplitude"):
        for key in ("gamma", "a", "b"):
            yield key, "acts with amplitude other than 0"
