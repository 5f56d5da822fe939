"""One kind of conversation a file: each has make(library, rng) -> Record."""
