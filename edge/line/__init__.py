"""How the station hears of a part and whom it tells: triggers, outputs, and the PLC's registers."""
