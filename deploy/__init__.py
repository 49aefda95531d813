"""Unattended runs: Prefect deployments and CI steps."""
