"""Ways to look at a run: from its directory alone, live, dead or copied to a laptop."""
