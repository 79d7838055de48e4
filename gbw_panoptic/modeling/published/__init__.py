"""Published weights: names of their files and layouts, our names for their tensors, and what a model may take of
them."""
