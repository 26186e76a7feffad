"""The parts that the composition roots put together: a whole world in one process, a gateway, a node."""
