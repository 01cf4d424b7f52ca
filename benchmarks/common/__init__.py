"""What several benchmarks, and the tests, share."""
