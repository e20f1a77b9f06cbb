"""Reads the HDF5 traces of wan_batch: scaling reports, comparisons of runs, a cost model, nightly verdicts, and data frames.

For other programs::

    import wan_analysis
    study = wan_analysis.load("outputs/run1", "outputs/run2")
    study.runs, study.items, study.steps, study.phases, study.samples, study.ranks, study.factors   # pandas data frames
    study.problems                                   # what could not be read
    wan_analysis.columns()                           # name, dtype, unit and meaning of every column

The names in `__all__` and the columns are stable. Everything else in the package may change with any version.
"""

from wan_analysis.table_columns import columns
from wan_analysis.tables import StudyTables, load
from wan_analysis.version import package_version

__all__ = ["StudyTables", "__version__", "columns", "load"]

__version__ = package_version()
