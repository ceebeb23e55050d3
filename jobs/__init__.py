"""What runs on the cluster: each module at this level is one Ray job; the folders are the parts it is made of."""
