"""Small vision models, each good at one question; knows nothing of the generalist that consults them."""
