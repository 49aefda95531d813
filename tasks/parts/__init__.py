"""What the stages are made of. Knows nothing of stages, flows, DVC or MLflow."""
