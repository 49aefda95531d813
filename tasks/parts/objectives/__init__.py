"""What the fit loop minimises: one objective a file, chosen by name in params.yaml."""
