"""Make a trained net smaller. One published method per file; none answers a question."""
