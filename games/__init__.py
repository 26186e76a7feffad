"""Sample games. The default is `games.frontier`."""
