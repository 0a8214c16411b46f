"""The picks of a selection, each trained alone by the ordinary trainer."""
