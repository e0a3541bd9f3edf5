"""A directory for PYTHONPATH: the stand-in for `nvidia-ml-py`."""
