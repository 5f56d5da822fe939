"""Who words a conversation: templates, or a language model whose words are checked against the record."""
