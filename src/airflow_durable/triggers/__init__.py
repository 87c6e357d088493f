"""The deferrable wait."""
