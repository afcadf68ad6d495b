"""The shift: its times, its parts in numbers, and the order that is made."""
