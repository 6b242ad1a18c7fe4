"""How hypothesis runs here: no timing of single examples, and the same examples every time."""

from hypothesis import settings

settings.register_profile("unit", deadline=None, derandomize=True, max_examples=100)
settings.load_profile("unit")
