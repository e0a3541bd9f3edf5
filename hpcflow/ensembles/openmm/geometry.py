"""Torsion angles of points in space."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def dihedrals(points: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the dihedral angle of each quadruple of points [radian], in (-pi, pi].

    The sign is that of IUPAC: looking along the middle bond from the second point to the third,
    a clockwise turn from the first bond to the last is positive; trans is pi. Computed by the
    two-argument arctangent, which is exact at 0 and pi where the arccosine is not (Blondel &
    Karplus 1996, J. Comput. Chem. 17, 1132).

    Parameters
    ----------
    points
        Array (..., 4, 3) in any unit of length. No two neighbours coincide.

    Returns
    -------
    ndarray
        Array (...). Where three neighbours lie on a line, and there is no angle, it is 0.

    Examples
    --------
    >>> cis = [[1, 0, 0], [0, 0, 0], [0, 0, 1], [1, 0, 1]]
    >>> quarter = [[1, 0, 0], [0, 0, 0], [0, 0, 1], [0, 1, 1]]
    >>> np.degrees(dihedrals(np.array([cis, quarter], float))).tolist()
    [0.0, 90.0]
    """
    first = points[..., 1, :] - points[..., 0, :]
    middle = points[..., 2, :] - points[..., 1, :]
    last = points[..., 3, :] - points[..., 2, :]
    near, far = np.cross(first, middle), np.cross(middle, last)
    sine = np.sum(first * far, axis=-1) * np.linalg.norm(middle, axis=-1)
    cosine = np.sum(near * far, axis=-1)
    return np.asarray(np.arctan2(sine, cosine), dtype=np.float64)
