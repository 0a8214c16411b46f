"""Kills of a small training at seeded moments, each followed by a resume, compared with the uninterrupted run."""
