"""The farm: Dask scheduler and workers, our slots and runners on them, and the client that feeds them."""
