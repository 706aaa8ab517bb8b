"""Training data: what a batch is made of."""
