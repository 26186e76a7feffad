"""The host: runs shards at their pace and carries out their effects, journal first."""
