"""Gates: commands recorded, criteria judged, verdicts and artifacts published."""
