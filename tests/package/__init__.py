"""Tests of the wheel: what people install."""
