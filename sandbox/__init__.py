"""The whole outside world on a laptop, for the demo and the tests; never shipped."""
