"""What is to be learned, and its exact entropy."""
