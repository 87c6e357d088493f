"""Tests of the documentation: its code blocks are executed, its tables and pictures held against the code."""
