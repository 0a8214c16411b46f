"""Gates: commands recorded, criteria evaluated, verdicts and artifacts published."""
