"""Which node works for which telescope: cyclic or redundant failover, on etcd."""
