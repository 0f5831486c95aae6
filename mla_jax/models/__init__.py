"""The model: pooling as pure functions, the rest as Linen modules."""
