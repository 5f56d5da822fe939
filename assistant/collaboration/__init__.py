"""How opinions and similar cases are gathered, made evidence and pooled; no language model in here."""
