"""One file a claim: a grid, and what to measure on each cell."""
