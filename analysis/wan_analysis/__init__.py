"""Reads the HDF5 traces of wan_batch: scaling reports, comparisons of runs, a cost model, nightly verdicts."""
