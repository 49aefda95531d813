"""Scripts that run peers on the same data, weights and cores, in a separate environment."""
