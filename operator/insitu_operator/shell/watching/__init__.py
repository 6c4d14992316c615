"""What the cluster has shown, as far as it can change a decision."""
