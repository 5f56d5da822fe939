"""The consultation behind OpenAI's chat protocol; it has no logic of its own."""
