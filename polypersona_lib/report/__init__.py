"""The tables and the page that readers see, made from a run's files alone."""
