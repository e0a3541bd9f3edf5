"""The durable record of a run: one writer, any number of readers that never lock."""
