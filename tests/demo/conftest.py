"""Makes the demo's training importable."""

import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(PROJECT / "inputs" / "demo" / "train"), str(PROJECT / "inputs" / "demo")]
