"""Where patches come from: one file a layout, chosen by `detect`."""
