"""Back ends that run a lightning-meta command elsewhere. Imports nothing of the rest of the project."""
