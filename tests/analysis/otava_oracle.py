"""Change points by Apache Otava 0.8, of series on standard input, as JSON. It runs in Otava's own environment."""

import json
import sys

from otava.analysis import compute_change_points

print(json.dumps([[int(point.index) for point in compute_change_points(series, window_len=30, max_pvalue=1e-4)[0]]
                  for series in json.load(sys.stdin)]))
