"""What looks at a prediction in other ways: spots, regions, measured counts, domains, uncertainty."""
