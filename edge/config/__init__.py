"""The station's settings: station.toml is read, checked and handed on as a StationConfig."""
