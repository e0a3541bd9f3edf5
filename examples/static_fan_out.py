"""A static fan-out: all tasks are known, outcomes come as they are completed.

Listing 2 of Coletti, Davidson & Sedova (2022), "Toward designing effective exascale scientific
computing workflows", on a farm. Every outcome is durable: stop it at any time, run it again.

    python examples/static_fan_out.py runs/fan-out
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from hpcflow import Farm

PROTEINS = ["MKTAYIAKQR", "GAVLIPFW", "MSTNPKPQRKTKRNTNRRPQDVKFPGG", "ACDEFGHIKLMNPQRSTVWY"]
# average residue masses [Da], as the ExPASy ProtParam tool uses them
MASS = {
    "G": 57.05,
    "A": 71.08,
    "S": 87.08,
    "P": 97.12,
    "V": 99.13,
    "T": 101.1,
    "C": 103.14,
    "L": 113.16,
    "I": 113.16,
    "N": 114.1,
    "D": 115.09,
    "Q": 128.13,
    "K": 128.17,
    "E": 129.12,
    "M": 131.2,
    "H": 137.14,
    "F": 147.18,
    "R": 156.19,
    "Y": 163.18,
    "W": 186.21,
}
WATER = 18.015


def read_items() -> Iterator[str]:
    """Yield protein sequences, as a file of any length would be read."""
    for copies in range(1, 26):
        for protein in PROTEINS:
            yield protein * copies


def process_item(sequence: str) -> dict[str, float]:
    """Return length and molecular mass [Da] of a protein."""
    return {"length": len(sequence), "mass_da": sum(map(MASS.__getitem__, sequence)) + WATER}


def main(run: str | None) -> None:
    """Process every item and print the outcomes."""
    with Farm(run=run) as farm:
        for outcome in farm.map(process_item, read_items()):
            print(f"Finished processing {outcome.key}: {outcome.result()}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)  # None records nothing
