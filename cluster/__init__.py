"""How a cluster comes to be. Nothing here imports `service` or `jobs`."""
