"""Devices: how they are admitted, and what they report."""
