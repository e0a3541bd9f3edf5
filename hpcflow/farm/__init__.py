"""The farm: a Dask scheduler and workers, slots and runners on them, the client that feeds them."""
