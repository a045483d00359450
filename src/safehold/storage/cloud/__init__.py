"""Stores in a bucket of a cloud service: S3 and what is compatible with it, Google Cloud Storage, Azure Blob Storage."""
