"""Kubernetes objects as values: what is written for a job, and what is read of it. All pure."""
