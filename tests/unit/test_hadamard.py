import numpy as np
import pytest

from substrate.errors import InputError
from substrate.hadamard import sign_patterns


@pytest.mark.parametrize("ports", [1, 2, 3, 4, 5, 7, 11, 13, 20, 26, 74, 139])
def test_columns_are_orthogonal_signs(ports: int) -> None:
    found = sign_patterns(ports)
    assert found.shape[1] == ports
    assert set(np.unique(found)) <= {-1.0, 1.0}
    np.testing.assert_array_equal(found.T @ found, len(found) * np.eye(ports))


def test_there_are_few_more_patterns_than_ports() -> None:
    counts = [len(sign_patterns(ports)) / ports for ports in range(8, 200)]
    assert max(counts) <= 1.5
    assert len(sign_patterns(74)) == 80


@pytest.mark.parametrize("ports", [8, 74, 138])
def test_no_pattern_pushes_all_ports_together(ports: int) -> None:
    assert np.abs(sign_patterns(ports).sum(axis=1)).max() < 4.0 * np.sqrt(ports)


def test_no_port_is_refused() -> None:
    with pytest.raises(InputError, match="ports: expected at least 1, got 0"):
        sign_patterns(0)
