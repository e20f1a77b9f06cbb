"""Makes the package and the synthetic traces importable."""

import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(PROJECT / "analysis"), str(Path(__file__).resolve().parent)]
