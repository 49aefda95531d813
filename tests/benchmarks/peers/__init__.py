"""What peers do with the same data, weights and cores: scripts that an environment of their own runs."""
