"""Rows, intervals, verdicts."""
