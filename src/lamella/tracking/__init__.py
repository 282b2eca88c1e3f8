"""Tracking: every job leaves a record beside its results, which is sent to MLflow once."""
