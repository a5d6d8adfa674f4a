"""The back end for a running Ray cluster, through its Jobs API."""
