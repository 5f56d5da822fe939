"""Tests of the chat window; they need no weights."""
