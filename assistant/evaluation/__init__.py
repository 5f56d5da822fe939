"""What is measured, on what, with which interval; it trains nothing and changes no answer."""
