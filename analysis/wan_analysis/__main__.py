"""Entry of ``python -m wan_analysis``."""

import sys

from wan_analysis.cli import main

if __name__ == "__main__":
    sys.exit(main())
