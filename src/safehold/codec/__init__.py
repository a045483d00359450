"""Chunking, compression, sealing and keys."""
