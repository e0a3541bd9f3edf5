"""No step launcher: processes of this machine."""

from __future__ import annotations

from hpcflow.batch.step import END_BY_SIGNAL, Launch, Step


class Direct:
    """Starts the command itself."""

    exclusive = False
    places_in_order = False
    script_on_first_node = True
    end_steps = END_BY_SIGNAL

    def launch(self, step: Step) -> Launch:
        """Return nothing to put before the command."""
        return Launch(words=())
