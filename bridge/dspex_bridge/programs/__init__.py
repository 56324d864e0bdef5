"""PROGRAMS: what they have learned, how they are kept, and the sessions that use them."""
