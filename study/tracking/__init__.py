"""MLflow: what is logged, and how it never stops a study."""
