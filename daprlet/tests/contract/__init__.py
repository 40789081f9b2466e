"""One behaviour suite for every sidecar that claims Dapr's HTTP contract: it runs unchanged on daprlet and on daprd."""
