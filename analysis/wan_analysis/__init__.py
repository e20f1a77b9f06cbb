"""Reads the HDF5 traces of wan_batch: scaling reports, comparisons of runs, a cost model, nightly verdicts."""

from wan_analysis.version import package_version

__all__ = ["__version__"]

__version__ = package_version()
