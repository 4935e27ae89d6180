"""The feature store: Parquet in, Parquet out."""
