"""Proof on a running engine: `edge chaos` and `edge soak`, with stand-ins for camera, PLC and broker."""
