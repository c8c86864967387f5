"""Which node works for which telescope: the agent `ast3-ha`, and the processes that help it."""
