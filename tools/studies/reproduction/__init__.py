"""Published benchmarks and their figures: :mod:`reproduce` runs them."""
