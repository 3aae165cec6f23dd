"""Two papers on transformers, taken apart claim by claim, on models small enough to be measured exactly."""
