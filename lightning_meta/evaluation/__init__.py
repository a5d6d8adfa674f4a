"""Rehearsal, tests of several sizes, and comparisons of learners."""
