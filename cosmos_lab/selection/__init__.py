"""Choosing among generated clips: a critic that reads prompt and clip, and another try where it finds fault."""
