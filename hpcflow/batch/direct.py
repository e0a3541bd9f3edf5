"""No step launcher: processes of this machine."""

from __future__ import annotations

from hpcflow.batch.step import Launch, Step


class Direct:
    """Starts the command itself."""

    exclusive = False
    places_in_order = False
    script_on_first_node = True

    def launch(self, step: Step) -> Launch:
        """Return nothing to put before the command."""
        return Launch(words=())
