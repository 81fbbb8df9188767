"""Faults on purpose: each promise of reliability as a seeded figure."""
