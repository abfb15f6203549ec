"""The data of a run: named splits, slices, shifts, the samples that the report shows."""
