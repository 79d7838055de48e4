"""What only the study of estimates without labels needs."""
