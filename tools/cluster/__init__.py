"""A real Kubernetes of one node with Dapr, without a container engine, in namespaces of its own: docs/cluster.md."""
