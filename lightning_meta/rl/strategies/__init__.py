"""Hand-designed strategies for bandits and tabular MDPs, to compare learned agents with."""
