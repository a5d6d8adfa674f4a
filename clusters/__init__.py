"""Runs any command line elsewhere; imports nothing of the rest of the project."""
