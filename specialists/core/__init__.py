"""What all specialists share; knows no method."""
