"""Which of several replicas acts."""
