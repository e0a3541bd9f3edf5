from __future__ import annotations

import numpy as np
import pytest

from hpcflow.ensembles.openmm.geometry import dihedrals


def _turned(degrees: float) -> list[list[float]]:
    angle = np.radians(degrees)
    return [[1, 0, 0], [0, 0, 0], [0, 0, 1.5], [2 * np.cos(angle), 2 * np.sin(angle), 2]]


@pytest.mark.parametrize("degrees", [-179.0, -120.0, -60.0, 0.0, 1e-6, 45.0, 90.0, 180.0])
def test_a_point_turned_about_the_middle_bond_has_that_dihedral(degrees: float) -> None:
    assert np.degrees(dihedrals(np.array(_turned(degrees)))) == pytest.approx(degrees, abs=1e-9)


def test_a_mirror_image_has_the_opposite_dihedral() -> None:
    points = np.array(_turned(70.0))
    assert dihedrals(points * [1, 1, -1]) == pytest.approx(-dihedrals(points))


def test_dihedrals_do_not_depend_on_place_orientation_or_scale() -> None:
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    rotation *= np.sign(np.linalg.det(rotation))
    points = np.array(_turned(33.0))
    assert dihedrals(7.5 * points @ rotation.T + 100) == pytest.approx(np.radians(33.0))


def test_dihedrals_keep_the_leading_axes() -> None:
    points = np.broadcast_to(np.array(_turned(20.0)), (5, 3, 2, 4, 3))
    assert dihedrals(points).shape == (5, 3, 2)


def test_a_straight_chain_has_dihedral_zero() -> None:
    assert dihedrals(np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 1, 0]])) == 0.0
