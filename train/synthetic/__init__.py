"""Pictures of a turned flange and its defects, for the demo and the tests."""
