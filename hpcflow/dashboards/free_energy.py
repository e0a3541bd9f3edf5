"""The phi/psi free-energy map: F = -kB T ln P."""

from __future__ import annotations

import numpy as np
from bokeh.models import ColumnDataSource, FixedTicker, HoverTool, LinearColorMapper
from bokeh.models.annotations import ColorBar, Title
from bokeh.palettes import Viridis256
from bokeh.plotting import figure

from hpcflow.dashboards.molecular import Floats, Torsions
from hpcflow.dashboards.style import FONT, INK, new_figure, tooltip

BOLTZMANN = 0.00831446261815324
"""[kJ/mol/K]: the exact molar gas constant of the SI of 2019."""
FEW_FRAMES = 20_000
"""Below so many samples the bins are 10 degrees wide, from there on 5."""


def free_energy(phi: Floats, psi: Floats, *, temperature_k: float, bins: int) -> Floats:
    """Return the free energy on a grid of torsions, its minimum zero [kJ/mol].

    Parameters
    ----------
    phi, psi
        Samples [degree], from -180 to 180.
    temperature_k
        At which they were sampled [K].
    bins
        Along each axis.

    Returns
    -------
    numpy.ndarray
        Indexed by psi, then phi. Bins without a sample are NaN.

    Examples
    --------
    Twice the probability is kB T ln 2 lower.

    >>> import numpy as np
    >>> phi, psi = np.array([-90.0, -90.0, 90.0]), np.array([90.0, 90.0, 90.0])
    >>> free_energy(phi, psi, temperature_k=300.0, bins=2).round(3)
    array([[  nan,   nan],
           [0.   , 1.729]])
    """
    edges = np.linspace(-180.0, 180.0, bins + 1)
    counts = np.histogram2d(psi, phi, bins=(edges, edges))[0]
    with np.errstate(divide="ignore"):
        energy = -BOLTZMANN * temperature_k * np.log(counts / max(counts.max(), 1.0))
    energy[counts == 0] = np.nan
    positive: Floats = np.abs(energy)  # -0.0 reads badly
    return positive


def free_energy_map(torsions: Torsions, *, temperature_k: float) -> figure | None:
    """Return the map at one temperature, or None where nothing was sampled."""
    if not len(torsions.phi):
        return None
    bins = 36 if len(torsions.phi) < FEW_FRAMES else 72
    energy = free_energy(torsions.phi, torsions.psi, temperature_k=temperature_k, bins=bins)
    plot = new_figure(
        f"Free energy at {temperature_k:g} K",
        axes=("φ [degree]", "ψ [degree]"),
        height=480,
        width=530,
        sizing_mode="fixed",
        x_range=(-180, 180),
        y_range=(-180, 180),
        tools="box_zoom,reset,save",
    )
    plot.grid.visible = False
    ticks = FixedTicker(ticks=list(range(-180, 181, 60)))
    plot.xaxis.ticker = plot.yaxis.ticker = ticks
    mapper = LinearColorMapper(
        palette=Viridis256, low=0.0, high=max(float(np.nanmax(energy)), 1e-9), nan_color="white"
    )
    _draw(plot, energy, mapper)
    bar = ColorBar(
        color_mapper=mapper,
        major_label_text_font=FONT,
        major_label_text_font_size="12px",
        width=16,
        padding=6,
    )
    unit = Title(
        text="F [kJ/mol]",
        align="center",
        text_font=FONT,
        text_font_style="normal",
        text_font_size="13px",
        text_color=INK,
    )
    plot.add_layout(bar, "right")
    plot.add_layout(unit, "right")
    return plot


def _draw(plot: figure, energy: Floats, mapper: LinearColorMapper) -> None:
    bins = len(energy)
    size = 360.0 / bins
    row, column = np.nonzero(np.isfinite(energy))
    centre = np.linspace(-180 + size / 2, 180 - size / 2, bins)
    source = ColumnDataSource(
        {
            "phi": centre[column],
            "psi": centre[row],
            "energy": energy[row, column],
            "at": [f"{centre[x]:g}°, {centre[y]:g}°" for x, y in zip(column, row, strict=True)],
            "words": [f"{value:.2f} kJ/mol" for value in energy[row, column]],
        }
    )
    plot.rect(
        x="phi",
        y="psi",
        width=size * 1.02,
        height=size * 1.02,
        source=source,
        fill_color={"field": "energy", "transform": mapper},
        line_color=None,
    )
    plot.add_tools(HoverTool(tooltips=tooltip([("φ, ψ", "at"), ("F", "words")])))
