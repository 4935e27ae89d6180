"""Tools that check correctness and measure speed on the current machine."""
