"""What a trained model is like."""
