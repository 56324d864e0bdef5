"""Faults at random moments under constant load, and what the promises say of the history."""
