"""Where the time of an allocation went: one definition per figure, from the journal's events."""
