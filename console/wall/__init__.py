"""The fleet wall of the overview: read, rendered and told once for all who look at an account's."""
