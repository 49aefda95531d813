"""Scripts that run peers on the same data, weights and cores, in an environment of their own."""
