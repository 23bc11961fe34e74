import gzip
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from substrate import mnist
from substrate.datasets import clip_inputs, from_arrays, load_dataset
from substrate.errors import InputError


def load(name, seed=0, **settings):
    return load_dataset(name, rng=np.random.default_rng(seed), **settings)


def idx_bytes(values, magic=None):
    values = np.asarray(values, dtype=np.uint8)
    header = magic if magic is not None else bytes([0, 0, 8, values.ndim])
    return header + np.array(values.shape, dtype=">u4").tobytes() + values.tobytes()


@pytest.fixture
def mnist_folder(tmp_path):
    """A small MNIST: 30 training and 20 test images, the label written into every pixel of the first row."""
    folder = tmp_path / "data" / "mnist"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for images_name, labels_name, count in ((*mnist.FILES[:2], 30), (*mnist.FILES[2:], 20)):
        images = rng.integers(0, 256, size=(count, 28, 28))
        labels = np.arange(count) % 10
        images[:, 0] = labels[:, None]
        images[:, 1, 0], images[:, 1, 1] = 0, 255
        (folder / images_name).write_bytes(gzip.compress(idx_bytes(images)))
        (folder / labels_name).write_bytes(gzip.compress(idx_bytes(labels)))
    return folder


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """Every connection goes to a closed port of this machine, and nothing was cached before."""
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path / "cache"))
    monkeypatch.delenv(mnist.DATA_VARIABLE, raising=False)


def test_digits_are_scikit_learns_scaled_and_split_by_class():
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    data = load("digits")
    assert data.train_inputs.dtype == np.float64
    assert data.train_labels.dtype == np.int64
    assert (data.class_count, data.feature_count) == (10, 64)
    assert len(data.test_labels) == round(0.2 * len(labels))
    assert (data.input_low, data.input_high) == (-1.0, 1.0) == (data.train_inputs.min(), data.train_inputs.max())
    for label in range(10):
        assert np.sum(data.test_labels == label) == pytest.approx(0.2 * np.sum(labels == label), abs=1)
    both = np.column_stack(
        [np.vstack([data.train_inputs, data.test_inputs]) * 8 + 8, np.hstack([data.train_labels, data.test_labels])]
    )
    given_rows = np.column_stack([pixels, labels])
    np.testing.assert_array_equal(both[np.lexsort(both.T)], given_rows[np.lexsort(given_rows.T)])


def test_iris_is_scaled_by_its_training_range_and_reports_what_it_clipped():
    from sklearn.datasets import load_iris

    lengths, _ = load_iris(return_X_y=True)
    clipped = []
    for seed in range(8):
        data = load("iris", seed)
        np.testing.assert_array_equal(data.train_inputs.min(axis=0), -1.0)
        np.testing.assert_array_equal(data.train_inputs.max(axis=0), 1.0)
        assert np.abs(data.test_inputs).max() <= 1.0
        np.testing.assert_array_equal(np.bincount(data.test_labels), [10, 10, 10])
        clipped.append(data.clipped_test_values)
    assert data.class_count == 3
    assert data.feature_count == lengths.shape[1]
    # Somewhere among eight splits an extreme flower falls into the test set.
    assert max(clipped) > 0


def test_the_packaged_tables_and_scikit_learns_loaders_agree(monkeypatch):
    direct = {name: load(name) for name in ("digits", "iris")}
    monkeypatch.setattr("pathlib.Path.is_file", lambda self: False)
    for name, data in direct.items():
        fallback = load(name)
        np.testing.assert_array_equal(data.train_inputs, fallback.train_inputs)
        np.testing.assert_array_equal(data.test_labels, fallback.test_labels)


def test_xor_is_its_truth_table():
    data = load("xor")
    np.testing.assert_array_equal(data.train_labels, (data.train_inputs.prod(axis=1) < 0).astype(int))
    assert {tuple(row) for row in data.train_inputs} == {(-1, -1), (-1, 1), (1, -1), (1, 1)}
    np.testing.assert_array_equal(data.test_inputs, data.train_inputs)
    np.testing.assert_array_equal(data.test_labels, data.train_labels)


@pytest.mark.parametrize("name", ["digits", "iris"])
def test_the_seed_fixes_the_split(name):
    first, again, other = load(name, 1), load(name, 1), load(name, 2)
    np.testing.assert_array_equal(first.train_inputs, again.train_inputs)
    np.testing.assert_array_equal(first.test_labels, again.test_labels)
    assert not np.array_equal(first.test_inputs, other.test_inputs)
    assert not np.all(np.diff(first.train_labels) >= 0)


@settings(max_examples=20)
@given(limit=st.integers(1, 1438), seed=st.integers(0, 100))
def test_limits_keep_the_classes_in_proportion(limit, seed):
    data = load("digits", seed, train_limit=limit)
    assert len(data.train_inputs) == len(data.train_labels) == limit
    counts = np.bincount(data.train_labels, minlength=10)
    whole = np.bincount(load("digits", seed).train_labels)
    assert np.all(np.abs(counts - whole * limit / whole.sum()) < 1)
    assert len(data.test_labels) == 359


@pytest.mark.parametrize("given_as", ["folder", "parent", "variable", "variable parent"])
def test_mnist_from_a_folder(mnist_folder, monkeypatch, given_as):
    place = mnist_folder.parent if "parent" in given_as else mnist_folder
    monkeypatch.setenv(mnist.DATA_VARIABLE, str(place) if "variable" in given_as else "/nonexistent")
    data = load("mnist", folder=None if "variable" in given_as else place)
    assert data.train_inputs.shape == (30, 784)
    assert data.test_inputs.shape == (20, 784)
    assert data.source == str(mnist_folder)
    np.testing.assert_array_equal(data.train_labels, np.arange(30) % 10)
    np.testing.assert_array_equal(data.test_inputs[:, 5], data.test_labels / 127.5 - 1)
    np.testing.assert_array_equal(data.train_inputs[:, 28:30], np.tile([-1.0, 1.0], (30, 1)))


def test_mnist_in_single_precision_with_limits(mnist_folder):
    data = load("mnist", folder=mnist_folder, train_limit=20, test_limit=10, dtype=np.float32)
    assert data.train_inputs.dtype == np.float32
    np.testing.assert_array_equal(np.bincount(data.train_labels), np.full(10, 2))
    np.testing.assert_array_equal(np.sort(data.test_labels), np.arange(10))
    np.testing.assert_allclose(data.train_inputs[:, 0], data.train_labels / 127.5 - 1, rtol=1e-6)


def damaged(folder, what):
    path = folder / mnist.FILES[0]
    content = path.read_bytes()
    plain = gzip.decompress(content)
    if what == "truncated gzip":
        path.write_bytes(content[: len(content) // 2])
    elif what == "flipped bytes":
        path.write_bytes(content[:2000] + bytes(200) + content[2200:])
    elif what == "no gzip":
        path.write_bytes(plain)
    elif what == "empty":
        path.write_bytes(b"")
    elif what == "empty archive":
        path.write_bytes(gzip.compress(b""))
    elif what == "labels for images":
        path.write_bytes((folder / mnist.FILES[1]).read_bytes())
    elif what == "floats":
        path.write_bytes(gzip.compress(b"\x00\x00\x0d\x03" + plain[4:]))
    elif what == "short header":
        path.write_bytes(gzip.compress(plain[:10]))
    elif what == "short by one":
        path.write_bytes(gzip.compress(plain[:-1]))
    elif what == "other size":
        path.write_bytes(gzip.compress(idx_bytes(np.zeros((30, 28, 27)))))
    elif what == "no images":
        path.write_bytes(gzip.compress(idx_bytes(np.zeros((0, 28, 28)))))
    return path


@pytest.mark.parametrize(
    "what",
    [
        "truncated gzip",
        "flipped bytes",
        "no gzip",
        "empty",
        "empty archive",
        "labels for images",
        "floats",
        "short header",
        "short by one",
        "other size",
        "no images",
    ],
)
def test_a_damaged_file_is_named(mnist_folder, what):
    path = damaged(mnist_folder, what)
    with pytest.raises(InputError) as caught:
        load("mnist", folder=mnist_folder)
    assert str(path) in str(caught.value)
    assert "expected" in str(caught.value) or "damaged" in str(caught.value)


@pytest.mark.parametrize("labels", [np.arange(29) % 10, np.arange(30) % 11])
def test_labels_that_do_not_fit_their_images_are_named(mnist_folder, labels):
    path = mnist_folder / mnist.FILES[1]
    path.write_bytes(gzip.compress(idx_bytes(labels)))
    with pytest.raises(InputError, match=r"one for each image|digits 0 to 9, got 10 at index 10") as caught:
        load("mnist", folder=mnist_folder)
    assert str(path) in str(caught.value)


def test_a_missing_mnist_says_where_it_looked_and_what_to_do(tmp_path, monkeypatch, no_network):
    monkeypatch.setenv(mnist.DATA_VARIABLE, str(tmp_path))
    with pytest.raises(InputError) as caught:
        load("mnist")
    message = str(caught.value)
    for part in (*mnist.FILES, str(tmp_path), str(tmp_path / "mnist"), "OpenML", "data.folder", "SUBSTRATE_DATA"):
        assert part in message
    monkeypatch.delenv(mnist.DATA_VARIABLE)
    with pytest.raises(InputError, match=r"SUBSTRATE_DATA \(not set\); OpenML"):
        load("mnist")


def test_a_folder_named_in_the_experiment_is_the_only_place_looked_in(tmp_path, mnist_folder, monkeypatch):
    monkeypatch.setenv(mnist.DATA_VARIABLE, str(mnist_folder))
    (mnist_folder / mnist.FILES[3]).rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="lacks t10k-labels-idx1-ubyte") as caught:
        load("mnist", folder=mnist_folder)
    assert "OpenML" not in str(caught.value)


def test_openml_rows_become_the_two_sets(monkeypatch, no_network):
    """The download itself is replaced: rows in the original order, labels as text, pixels as floats."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, size=(12, 784)).astype(float)
    answer = (pixels, np.array([str(label % 10) for label in range(12)], dtype=object))
    monkeypatch.setattr("sklearn.datasets.fetch_openml", lambda **_: answer)
    monkeypatch.setattr(mnist, "OPENML_TRAIN_COUNT", 9)
    data = load("mnist")
    assert data.source == "OpenML"
    np.testing.assert_array_equal(data.train_labels, np.arange(9))
    np.testing.assert_array_equal(data.test_labels, [9, 0, 1])
    np.testing.assert_array_equal(data.test_inputs, pixels[9:] / 127.5 - 1)


def small_arrays(**changes):
    arrays = {
        "train_inputs": np.array([[-1.0, 0.5], [0.25, 1.0], [0.0, 0.0]]),
        "train_labels": np.array([0, 1, 2]),
        "test_inputs": np.array([[0.5, -0.5]]),
        "test_labels": np.array([1]),
    }
    return arrays | changes


def test_own_arrays_are_copied_not_aliased():
    arrays = small_arrays()
    data = from_arrays(**arrays)
    np.testing.assert_array_equal(data.train_inputs, arrays["train_inputs"])
    assert data.class_count == 3
    arrays["train_inputs"][:] = 7
    arrays["train_labels"][:] = 7
    assert data.train_inputs.max() == 1.0
    assert data.train_labels.max() == 2


def test_own_arrays_with_a_range_of_their_own():
    images = np.array([[0, 255], [51, 102]], dtype=np.uint8)
    data = from_arrays(images, [0.0, 1.0], images[:1], [True], input_range=(0, 255), class_count=4)
    np.testing.assert_allclose(data.train_inputs, [[-1, 1], [-0.6, -0.2]], atol=1e-15)
    np.testing.assert_array_equal(data.test_labels, [1])
    assert data.class_count == 4


def test_npz_round_trip(tmp_path):
    path = tmp_path / "own.npz"
    np.savez(path, **small_arrays(), class_count=5, input_range=[-2.0, 2.0])
    data = load("npz", path=path, train_limit=2)
    assert (data.name, data.class_count, len(data.train_labels), data.source) == ("npz", 5, 2, str(path))
    np.testing.assert_array_equal(data.test_inputs, [[0.25, -0.25]])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"train_inputs": [[0, 1], [0, np.nan], [np.inf, 0]]},
            r"train_inputs: expected finite.* nan at index \(1, 1\)",
        ),
        ({"test_inputs": [[0.0, -np.inf]]}, r"test_inputs: expected finite.*index \(0, 1\)"),
        ({"test_inputs": [[0.0, 1.5]]}, r"test_inputs: expected numbers within .* got 1.5 at index \(0, 1\)"),
        ({"test_inputs": [[0.0]]}, "test_inputs: expected 2 features"),
        ({"test_inputs": [0.0, 0.0]}, r"test_inputs: expected shape \(samples, features\)"),
        ({"train_inputs": np.zeros((0, 2))}, "train_inputs: expected shape"),
        ({"train_inputs": [[0.0], [0.0, 1.0]]}, "train_inputs: expected numbers"),
        ({"train_inputs": [["a", "b"]]}, "train_inputs: expected numbers"),
        ({"train_labels": [0, 1]}, r"train_labels: expected shape \(3,\)"),
        ({"train_labels": [0, 1, -1]}, r"train_labels: expected labels from 0, got -1 at index \(2,\)"),
        ({"train_labels": [0, 1, 0.5]}, r"train_labels: expected whole numbers, got 0.5 at index \(2,\)"),
        ({"train_labels": [0, 1, np.nan]}, r"train_labels: expected whole numbers.*index \(2,\)"),
        ({"train_labels": ["a", "b", "c"]}, "train_labels: expected integers"),
        ({"test_labels": [3], "class_count": 3}, r"test_labels: expected labels below class_count 3, got 3 at index"),
        ({"train_labels": [0, 0, 0], "test_labels": [0]}, "class_count: expected at least 2"),
        ({"input_range": (1.0, -1.0)}, "input_range"),
        ({"input_range": (0.0, np.inf)}, "input_range"),
        ({"input_range": (0.0, 1.0, 2.0)}, "input_range"),
    ],
)
def test_bad_arrays_are_named_with_their_first_bad_index(changes, message):
    with pytest.raises(InputError, match=message):
        from_arrays(**small_arrays(**changes))


def write_bad_npz(path, what):
    if what == "missing array":
        np.savez(path, train_inputs=np.zeros((2, 2)), test_labels=[0])
    elif what == "objects":
        np.savez(path, **small_arrays(train_labels=np.array([0, 1, None], dtype=object)))
    elif what == "single array":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    elif what == "text":
        path.write_text("train_inputs")
    elif what == "truncated":
        np.savez_compressed(path, **small_arrays())
        path.write_bytes(path.read_bytes()[:-100])
    elif what == "two class counts":
        np.savez(path, **small_arrays(), class_count=[3, 3])
    elif what == "nan":
        np.savez(path, **small_arrays(test_inputs=np.array([[np.nan, 0.0]])))


@pytest.mark.parametrize(
    "what", ["missing", "missing array", "objects", "single array", "text", "truncated", "two class counts", "nan"]
)
def test_a_bad_npz_file_is_named(tmp_path, what):
    path = tmp_path / "own.npz"
    write_bad_npz(path, what)
    with pytest.raises(InputError) as caught:
        load("npz", path=path)
    assert str(path) in str(caught.value)
    assert ("is no .npz archive" in str(caught.value)) == (what in ("single array", "text", "truncated"))
    assert "allow_pickle" not in str(caught.value) or what == "objects"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "cifar"}, "data.name: expected one of digits, mnist, iris, xor, npz, got 'cifar'"),
        ({"name": "digits", "test_fraction": 0.0}, "data.test_fraction"),
        ({"name": "digits", "test_fraction": float("nan")}, "data.test_fraction"),
        ({"name": "iris", "test_fraction": 0.001}, "data.test_fraction"),
        ({"name": "iris", "test_fraction": 0.999}, "data.test_fraction"),
        ({"name": "digits", "train_limit": 0}, "data.train_limit: expected 1 to 1438"),
        ({"name": "digits", "test_limit": 360}, "data.test_limit: expected 1 to 359"),
        ({"name": "iris", "train_limit": 1}, "data.train_limit: feature 0 of iris is constant"),
        ({"name": "xor", "train_limit": 5}, "data.train_limit: expected 1 to 4"),
        ({"name": "digits", "folder": "/tmp"}, "data.folder"),
        ({"name": "digits", "path": "x.npz"}, "data.path"),
        ({"name": "npz"}, "data.path"),
        ({"name": "digits", "dtype": np.int64}, "dtype"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(InputError, match=message):
        load(**settings)


@given(seed=st.integers(0, 2**32 - 1))
def test_clipping_counts_what_it_moves(seed):
    inputs = np.random.default_rng(seed).normal(size=(5, 3))
    clipped = clip_inputs(inputs)
    assert clipped.clipped_count == np.sum(clipped.inputs != inputs)
    assert clipped.largest_excess == np.abs(clipped.inputs - inputs).max()
    assert np.abs(clipped.inputs).max() <= 1


def test_neither_import_nor_digits_load_scikit_learn():
    script = (
        "import sys, numpy, substrate.datasets as d\n"
        "d.load_dataset('digits', rng=numpy.random.default_rng(0))\n"
        "sys.exit(1 if 'sklearn' in sys.modules or 'scipy' in sys.modules else 0)"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith("COV")}
    assert subprocess.run([sys.executable, "-c", script], env=environment, check=False).returncode == 0
