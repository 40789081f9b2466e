"""A Kubernetes cluster, as the procedures and the doctor see it: objects as plain dicts, logs, and ways into a pod.

kr8s finds the credentials (kubeconfig, its exec plugins, the service account of a pod) and knows kinds that are not in
our table; everything else goes through the HTTP client that the rest of the operations use. kr8s comes with the extra
`kubernetes`, and is imported when it is needed.
"""

from todo.operations.cluster.access import connected, is_inside, own_namespace
from todo.operations.cluster.cluster import EVERYWHERE, Cluster
from todo.operations.cluster.errors import ClusterError, Fault
from todo.operations.cluster.streams import Executed

__all__ = ["EVERYWHERE", "Cluster", "ClusterError", "Executed", "Fault", "connected", "is_inside", "own_namespace"]
