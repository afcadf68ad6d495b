"""Setting a station up from the page: its bundles, and its commissioning."""
