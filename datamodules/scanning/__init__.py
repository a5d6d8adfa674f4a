"""Scanning of tars, parquet files, folders and CSV lists, so that their images become an index without being copied."""
