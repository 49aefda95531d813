"""What runs without a person at the keyboard: deployments, and the steps of CI."""
