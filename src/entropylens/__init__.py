"""Two papers on transformers, taken apart claim by claim, on models small enough to be measured exactly."""

__version__ = "0.1.0"
