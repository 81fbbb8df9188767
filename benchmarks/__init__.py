"""The figures of the README, each measured beside its baseline in the same run."""
