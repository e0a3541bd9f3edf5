"""The field: packages that run Python functions on processes, each used as its manual says."""
