"""What lies in a study's folder: JSON as it happens, Parquet made from it, checkpoints."""
