import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from substrate.activations import SMOOTH
from substrate.errors import InputError
from substrate.network import Network

SIZES = st.lists(st.integers(1, 9), min_size=2, max_size=6).map(tuple)


@given(SIZES)
def test_layers_tile_the_free_nodes_in_order(sizes):
    network = Network(sizes)
    nodes = [np.arange(network.node_count)[layer.nodes] for layer in network.layers[1:]]
    assert np.array_equal(np.concatenate(nodes), np.arange(sum(sizes[1:])))
    assert [len(part) for part in nodes] == list(sizes[1:])
    assert network.layers[0].start == -1
    assert network.input_size == sizes[0]
    assert network.output is network.layers[-1]
    assert network.output.size == sizes[-1]


@given(SIZES)
def test_couplings_join_neighbours_both_ways_but_for_the_inputs(sizes):
    network = Network(sizes)
    assert [(c.source, c.target) for c in network.forward] == list(
        zip(network.layers[:-1], network.layers[1:], strict=True)
    )
    assert len(network.backward) == len(sizes) - 2
    for forward, backward in zip(network.forward[1:], network.backward, strict=True):
        assert (backward.source, backward.target) == (forward.target, forward.source)
        assert network.mirror(forward) is backward
        assert network.mirror(backward) is forward
        assert backward.backward
        assert not forward.backward
    assert network.mirror(network.forward[0]) is None


@given(SIZES)
def test_arrays_have_a_word_line_a_source_and_one_for_the_bias(sizes):
    network = Network(sizes)
    for coupling in network.forward:
        assert coupling.shape == (coupling.source.size + 1, coupling.target.size)
    for coupling in network.backward:
        assert coupling.shape == (coupling.source.size, coupling.target.size)


@given(SIZES)
def test_shared_feedback_has_the_forward_arrays_alone(sizes):
    separate, shared = Network(sizes), Network(sizes, feedback="shared")
    assert separate.arrays == separate.forward + separate.backward
    assert shared.arrays == shared.forward
    assert shared.backward == separate.backward


def test_names_are_those_of_the_contract():
    network = Network((4, 3, 3, 2))
    assert [layer.name for layer in network.layers] == ["input", "hidden1", "hidden2", "output"]
    names = {"input-hidden1", "hidden1-hidden2", "hidden2-output", "hidden2-hidden1", "output-hidden2"}
    assert {coupling.name for coupling in network.arrays} == names
    for name in names:
        assert network.array(name).name == name


def test_an_array_that_does_not_exist_is_refused_with_those_that_do():
    with pytest.raises(InputError, match=r"'output-hidden1'.*input-hidden1, hidden1-output"):
        Network((4, 3, 2), feedback="shared").array("output-hidden1")


@pytest.mark.parametrize(
    ("sizes", "more", "message"),
    [
        ((4,), {}, "layers"),
        ((), {}, "layers"),
        ((4, 0, 2), {}, "positive"),
        ((4, -1), {}, "positive"),
        ((4, 2), {"activation": "relu"}, "activation.*tanh"),
        ((4, 2), {"feedback": "Shared"}, "feedback.*separate, shared.*'Shared'"),
        ((4, 2), {"family": "magic"}, "family"),
    ],
)
def test_bad_topologies_are_refused(sizes, more, message):
    with pytest.raises(InputError, match=message):
        Network(sizes, **more)


def test_every_activation_is_accepted():
    for activation in SMOOTH:
        assert Network((2, 2), activation=activation).activation == activation
