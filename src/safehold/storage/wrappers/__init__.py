"""Stores that stand in front of another store and add one thing each; they can be stacked in any order."""
