"""Experiment files: what they say is what runs, and what is wrong with them is said."""

from pathlib import Path

import pytest
import yaml

from emulators.substrate import EmulatedSubstrate
from substrate import load_experiment
from substrate.errors import InputError
from substrate.experiment.assembly import assemble
from substrate.experiment.files import shipped_experiments

SHIPPED = sorted(shipped_experiments())


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_experiment_loads_and_its_resolved_text_is_the_same_experiment(name: str) -> None:
    experiment = load_experiment(name)
    assert experiment.experiment == name
    again = load_experiment(name, text=experiment.to_yaml())
    assert again == experiment


def test_the_named_experiments_are_shipped() -> None:
    assert {"digits", "digits-ideal", "mnist", "iris", "xor", "asymmetric"} <= set(SHIPPED)


def test_overrides_and_seed() -> None:
    experiment = load_experiment("digits", ["training.epochs=3", "network.layers=[64, 5, 10]"], seed=9)
    assert experiment.training.epochs == 3
    assert experiment.network.layers == [64, 5, 10]
    assert experiment.seed == 9


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("training.epoch=3", r"training\.epoch: unknown key"),
        ("training.epochs=0", r"training\.epochs: expected at least 1, got 0"),
        ("training.epochs=many", r"training\.epochs: expected a whole number, got 'many'"),
        ("training.learning_rate=.nan", r"training\.learning_rate: .*got nan"),
        (
            "training.frozen=[input-hidden9]",
            r"training\.frozen: coupling 'input-hidden9': expected one of input-hidden1",
        ),
        ("training.learning_rates={nowhere: 0.1}", r"training\.learning_rates: coupling 'nowhere'"),
        ("network.layers=[64]", r"network\.layers"),
        ("network.layers=[64, 0, 10]", r"network\.layers: expected positive sizes"),
        ("network.activation=relu", r"network\.activation: expected one of tanh"),
        ("network.feedback=both", r"network\.feedback"),
        ("nudge.harmonics=8", r"nudge\.samples_per_period: expected more than twice"),
        ("nudge.amplitude=-1", r"nudge\.amplitude: expected more than 0 or 'auto', got -1$"),
        ("nudge.amplitude=Auto", r"nudge\.amplitude: expected a number or 'auto', got 'Auto'$"),
        ("seed=9223372036854775808", r"seed: expected less than 9223372036854775808, got 9223372036854775808$"),
        ("experiment=../elsewhere", r"experiment: .*got '\.\./elsewhere'"),
        ("data.activity_range=[-1, .inf]", r"data\.activity_range\.1: .*finite"),
        ("cost.targets=[-.inf, 1]", r"cost\.targets\.0: .*finite"),
        ("nudge={amplitude: auto, samples_per_period: 10}", r"nudge\.samples_per_period: amplitude auto also measures"),
        ("cost.targets=[1, 0]", r"targets: expected \[low, high\]"),
        ("data.test_fraction=1.5", r"data\.test_fraction"),
        ("data.activity_range=[1, 0]", r"activity_range"),
        ("substrate.backend=hardwear", r"substrate\.backend: expected one of .*emulator"),
        (
            "substrate.cells.window_siemens=[1.0e-4, 1.0e-6]",
            r"substrate\.cells.*window_siemens: expected \[lowest, highest\]",
        ),
        ("substrate.cells.stuck=1.5", r"substrate\.cells\.stuck"),
        ("substrate.wire.segment_ohms=1", r"substrate\.wire: unknown key"),
        ("substrate.wires.segment_ohms=-1", r"substrate\.wires\.segment_ohms"),
        ("substrate.update={law: soft_bound}", r"substrate\.update.*soft_bounds"),
        ("substrate.update={law: soft_bounds, step: 0.1, stepp: 1}", r"substrate\.update.*stepp"),
        ("substrate.converters.adc_bits=99", r"substrate\.converters\.adc_bits"),
        ("homeostasis.strength=-1", r"homeostasis\.strength"),
        ("training.weight_decay=[0.1, -1]", r"training\.weight_decay\.1: expected at least 0, got -1$"),
        ("training.weight_decay=much", r"training\.weight_decay: expected a number or a list, got 'much'$"),
        ("training.weight_decay=[]", r"training\.weight_decay: expected a number or at least 1 values, got \[\]$"),
        ("network.layers=[64, [8, x], 10]", r"network\.layers\.1\.1: expected a whole number, got 'x'$"),
        ("network.layers=[64, x, 10]", r"network\.layers\.1: expected a whole number or a list or a section of keys"),
        ("logging.records=perhaps", r"logging\.records: expected true or false, got 'perhaps'$"),
        ("cost=softmax", r"cost: expected a section of keys, got 'softmax'$"),
        ("data.name=3", r"data\.name: expected text, got 3$"),
        (
            "rule.name=foo",
            r"^--set rule\.name=foo: rule\.name: expected one of always_on_ep, asymmetric_ep, .*got 'foo'$",
        ),
        ("nudge.amplitude=2020-01-01", r"nudge\.amplitude: expected a number or 'auto', got 2020-01-01$"),
        ("substrate.cells.law=[]", r"substrate\.cells\.law: expected one of ohmic, .*got \[\]$"),
        ("novalue", r"--set novalue: expected key\.sub=value"),
        ("seed.x=1", r"--set seed\.x=1: seed holds a value"),
    ],
)
def test_bad_keys_and_values_are_named(override: str, named: str) -> None:
    with pytest.raises(InputError, match=named):
        load_experiment("digits", [override])


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("nudge.harmonic=3", "nudge.harmonic: unknown key; did you mean harmonics?"),
        ("rule={name: ep, variants: 3}", "rule.variants: unknown key; did you mean variant?"),
        ("substrate.wire.segment_ohms=1", "substrate.wire: unknown key; did you mean wires?"),
        ("substrate.cells={law: sinh, alfa: 1}", "substrate.cells.alfa: unknown key; did you mean alpha?"),
        ("substrate.cells.windw=[1, 2]", "substrate.cells.windw: unknown key; did you mean window_siemens?"),
        ("cost.zzz=1", "cost.zzz: unknown key; expected one of name, targets"),
        (
            "rule={name: sign_symmetric, by: periods}",
            "rule.by: unknown key; expected one of name, every; see `substrate rules sign_symmetric`",
        ),
        (
            "substrate.wires.zzz=1",
            "substrate.wires.zzz: unknown key; expected one of segment_ohms, source_ohms, sense_ohms, refresh",
        ),
        *(
            (
                f"substrate.wires.refresh={given}",
                "substrate.wires.refresh: expected every_write, a whole number of writes, or a tolerance below 1, got "
                f"{said}",
            )
            for given, said in (("sometimes", "'sometimes'"), ("2.5", "2.5"), ("0", "0"), (".inf", "inf"))
        ),
        ("training={epochs: 0}", "training.epochs: expected at least 1, got 0"),
    ],
)
def test_an_override_is_blamed_and_the_nearest_key_suggested(override: str, said: str) -> None:
    with pytest.raises(InputError) as raised:
        load_experiment("digits", [override])
    assert str(raised.value) == f"--set {override}: {said}"


def test_blame_falls_on_the_last_override_of_a_key_and_else_on_the_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^--set training\.epochs=0: training\.epochs: .*got 0$"):
        load_experiment("digits", ["training.epochs=-1", "training.epochs=0"])
    with pytest.raises(InputError, match=r"^--seed -1: seed: "):
        load_experiment("digits", seed=-1)
    # Neither the file nor the override is wrong alone.
    with pytest.raises(InputError, match=r"digits\.yaml with --set nudge\.harmonics=8: nudge\.samples_per_period: "):
        load_experiment("digits", ["nudge.harmonics=8"])
    path = tmp_path / "bad.yaml"
    path.write_text(Path(shipped_experiments()["digits"]).read_text().replace("batch_size", "batch_sise"))
    with pytest.raises(InputError) as raised:
        load_experiment(path)
    assert str(raised.value) == f"{path}: training.batch_sise: unknown key; did you mean batch_size?"


def test_hardware_is_never_a_default() -> None:
    tree = yaml.safe_load(Path(shipped_experiments()["digits"]).read_text())
    del tree["substrate"]["backend"]
    with pytest.raises(InputError, match=r"substrate\.backend: missing"):
        load_experiment("digits", text=yaml.safe_dump(tree))


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: no such file, nor an experiment that is shipped \(asymmetric"):
        load_experiment("nowhere")
    for text, said in ((":\n- [", "not valid YAML"), ("- 1", "expected a mapping"), ("experiment: x", "data: missing")):
        path = tmp_path / "bad.yaml"
        path.write_text(text)
        with pytest.raises(InputError, match=said) as raised:
            load_experiment(path)
        assert str(path) in str(raised.value)
    for text, key in (("seed: 0\nseed: 4\n", "seed"), ("data: {name: xor, name: iris}\n", "name")):
        with pytest.raises(InputError, match=rf"twice\.yaml: {key}: given twice"):
            load_experiment("twice.yaml", text=text)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"binary\.yaml: expected a YAML file, got one that is no text"):
        load_experiment(binary)


def test_null_leaves_out_what_a_file_has() -> None:
    whole = load_experiment("digits-resistive", ["rule.name=ep", "nudge=null", "training.learning_rate_decay=null"])
    assert whole.nudge == type(whole.nudge)()
    assert whole.training.learning_rate_decay == 1.0
    with pytest.raises(
        InputError, match=r"with --set rule\.name=ep: nudge\.harmonics: rule ep .*--set nudge\.periods=null"
    ):
        load_experiment("digits-resistive", ["rule.name=ep"])
    # Its default, given on purpose, is refused as well; in a file it is what a run file spells out.
    with pytest.raises(
        InputError, match=r"^--set training\.momentum=0\.9: training\.momentum: belongs to optimiser sgd"
    ):
        load_experiment("digits", ["training.optimiser=adam", "training.momentum=0.9"])
    assert load_experiment("digits", ["training.optimiser=adam"]).training.momentum == 0.9


def test_tones_are_taken_for_what_is_measured_by_them_whatever_the_rule() -> None:
    overrides = ["rule.name=ep", "nudge={amplitude: 0.5, frequency_hz: 50.0}"]
    assert load_experiment("digits", overrides, tones=True).nudge.frequency_hz == 50.0
    with pytest.raises(InputError, match=r"nudge\.frequency_hz: rule ep holds its nudges"):
        load_experiment("digits", overrides)


def test_a_device_without_an_exact_gradient_cannot_be_judged_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EmulatedSubstrate, "oracle", None)
    for every in (0, 20):
        assemble(load_experiment("xor", [f"logging.quality_every={every}"]))
    with pytest.raises(InputError, match=r"logging\.quality_every: backend emulator cannot tell"):
        assemble(load_experiment("xor", ["logging.quality_every=5"]))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["training.frozen=[input-hidden1]", "training.learning_rates={input-hidden1: 0.1}"], "is frozen"),
        (
            [
                "network={family: feedforward, feedback: separate, layers: [2, 8, 2]}",
                "rule={name: feedback_alignment}",
                "nudge=null",
                "homeostasis=null",
                "training.learning_rates={output-hidden1: 0.1}",
            ],
            "is not trained by rule feedback_alignment",
        ),
    ],
)
def test_an_array_that_is_not_trained_has_no_rate(overrides: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_experiment("xor", overrides)


@pytest.mark.parametrize(
    ("name", "rule", "fits"),
    [
        ("digits", "frequency_propagation", "digits-resistive"),
        ("digits", "product_feedback", "digits-product-feedback"),
        ("digits", "backpropagation", "mnist-conv"),
        (
            "digits",
            "feedback_alignment",
            "digits-product-feedback --set network.feedback=separate --set network.product_ratio=1",
        ),
        ("mnist", "contrastive", "digits-resistive"),
    ],
)
def test_where_a_rule_finds_its_network_is_told(name: str, rule: str, fits: str) -> None:
    with pytest.raises(InputError) as raised:
        load_experiment(name, [f"rule={{name: {rule}}}", "nudge.amplitude=0.5"])
    source, *sets = fits.split(" --set ")
    assert source in shipped_experiments()
    assert f"the shipped experiment {source} {'has one with' if sets else 'has such'}" in str(raised.value)
    assert all(f"--set {one}" in str(raised.value) for one in sets)
    # What is named is so.
    given = [f"rule={{name: {rule}}}", *sets, "writing=null"]
    load_experiment(source, [*given, "nudge=null"] if rule != "frequency_propagation" else given)


def test_a_rule_that_takes_the_network_is_sent_nowhere() -> None:
    with pytest.raises(InputError, match=r"nudge\.amplitude: rule ep is given its amplitude") as raised:
        load_experiment("digits", ["rule={name: ep}"])
    assert "shipped" not in str(raised.value)


def test_the_key_of_a_wiring_file_that_is_not_there_is_named() -> None:
    bench = "substrate={backend: bench, wiring: nowhere/wiring.yaml}"
    with pytest.raises(
        InputError, match=r"substrate\.wiring: nowhere/wiring\.yaml: no such file; a path counts from wh"
    ):
        assemble(load_experiment("xor", [bench, "logging.quality_every=null"]))


def test_of_a_section_that_does_nothing_only_what_was_written_is_shown() -> None:
    shared = ["network.feedback=shared", "homeostasis.strength=0", "substrate.feedback_paths={cells: {stuck: 0.1}}"]
    with pytest.raises(InputError, match=r"feedback_paths=null\), got \{'cells': \{'stuck': 0\.1\}\}$"):
        load_experiment("digits", shared)
