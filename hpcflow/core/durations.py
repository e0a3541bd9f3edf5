"""Learn how long the tasks of a stage take."""

from __future__ import annotations


class Duration:
    """A running estimate of one stage's task duration.

    The estimate is the harmonic mean of the last estimate and the newest mean: one chunk that was
    descheduled for a second among thousands that took a microsecond a task pulls an arithmetic
    mean up a thousandfold, and the harmonic one by at most a factor of two.

    Examples
    --------
    >>> duration = Duration()
    >>> duration.learn(0.001)
    >>> duration.learn(1.0)
    >>> round(duration.estimate_s, 6)
    0.001998
    """

    __slots__ = ("estimate_s",)

    def __init__(self) -> None:
        self.estimate_s: float | None = None
        """Expected duration of a task [s]; None until the first came back."""

    def learn(self, mean_s: float) -> None:
        """Take in the mean duration of the tasks of one chunk [s]."""
        newest = max(mean_s, 1e-7)
        last = self.estimate_s
        self.estimate_s = newest if last is None else 2 / (1 / last + 1 / newest)
