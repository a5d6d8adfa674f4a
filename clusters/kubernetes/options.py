"""The options of a profile for Kubernetes."""

from clusters.core.options import Option

OPTIONS = {
    "image": Option(str, "the container image, with lightning-meta (and Ray for a RayJob) in it; required"),
    "kind": Option(str, "the kind of object; by default a job if one node suffices, else a rayjob", ("job", "rayjob")),
    "namespace": Option(str, "the namespace to run in; the one named default if not given"),
    "context": Option(str, "the context of the kubeconfig; the current one by default"),
    "python": Option(str, "the Python interpreter that runs lightning-meta; else the command on the image's PATH"),
    "workdir": Option(str, "the folder in the container to run in"),
    "node_selector": Option(dict, "labels of the nodes, {LABEL: VALUE}; for a RayJob of its workers' nodes"),
    "tolerations": Option(list, "tolerations, as in a pod; for a RayJob those of its workers"),
    "head_node_selector": Option(dict, "labels of the node of a RayJob's head, which needs no GPU, {LABEL: VALUE}"),
    "head_tolerations": Option(list, "tolerations of a RayJob's head, as in a pod"),
    "secrets": Option(dict, "variables whose values Kubernetes takes from its Secrets, {VARIABLE: SECRET/KEY}"),
    "volumes": Option(list, "volumes, as in a pod"),
    "volume_mounts": Option(list, "mounts of the volumes, as in a container"),
    "image_pull_policy": Option(str, "when the image is pulled, as in a container"),
    "image_pull_secrets": Option(list, "names of Secrets for the image's registry"),
    "service_account": Option(str, "the service account of the pods"),
    "priority_class": Option(str, "the priority class of the pods"),
    "labels": Option(dict, "labels of the job and its pods, {LABEL: VALUE}, such as kueue.x-k8s.io/queue-name"),
    "gpu_resource": Option(str, "the cluster's name for a GPU; nvidia.com/gpu by default"),
    "grace_seconds": Option(int, "seconds between SIGTERM and SIGKILL, for a checkpoint; 120 by default"),
    "ttl_seconds": Option(int, "seconds that a finished job is kept; a week by default"),
    "ray_version": Option(str, "the version of Ray in the image, all of it, such as 2.60.0; required for a RayJob"),
    "head_cpus": Option((int, float, str), "CPU cores of a RayJob's head, where the command itself runs; 2 by default"),
    "head_memory": Option(str, "memory of a RayJob's head; 8Gi by default"),
    "submission_mode": Option(
        str,
        "how KubeRay submits a RayJob's command, K8sJobMode by default; the output of HTTPMode stays on the head",
        ("K8sJobMode", "SidecarMode", "HTTPMode"),
    ),
    "backoff_limit": Option(int, "how many new clusters a RayJob gets that failed; 0 by default"),
}
