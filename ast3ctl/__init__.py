"""The operator's hand: one command over SSH."""
