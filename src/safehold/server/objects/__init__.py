"""The store over HTTP: who may do what with which object, quota, trash, and the chain of what happened."""
