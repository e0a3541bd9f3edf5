"""Molecular dynamics by OpenMM: replicas, each a chain of segments, each segment one task.

Importing this package does not import OpenMM; checking or running an ensemble does.
"""

from hpcflow.ensembles.openmm.configuration import OpenMMConfiguration
from hpcflow.ensembles.openmm.ensemble import OpenMMEnsemble

__all__ = ["OpenMMConfiguration", "OpenMMEnsemble"]
