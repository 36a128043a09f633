"""What several parts of the dock use."""
