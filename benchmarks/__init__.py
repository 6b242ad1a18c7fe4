"""
The benchmark: where the wallet stands, as ratios of figures taken in one run.

`make bench` runs `__main__`; docs/tuning.md tells what it showed. Nothing here is part of the
service, and no figure is part of a test.
"""
