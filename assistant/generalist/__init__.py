"""The generalist: a chat model that sees images, here, behind a server, or from a script for tests.

Imports nothing by itself, so that whoever needs no model loads none.
"""
