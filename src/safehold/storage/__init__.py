"""Stores: dumb, flat key -> bytes places, and what may be relied on of them."""
