"""Durations, written for people."""


def duration(seconds: float, tenths: bool = False) -> str:
    """`41 s`, `7 min 05 s`, `3 h 20 min` or `2 d 04 h`; `tenths` has `0.4 s` below ten seconds."""
    if tenths and seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600:02d} h"
