"""The back end for Kubernetes: KubeRay's RayJob and the plain Job."""
