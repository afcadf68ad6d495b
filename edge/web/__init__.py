"""The page: its own process and the only network surface, so that it can say when the engine is dead.

It reads what the engine wrote (health.json, latest.jpg, the history, pictures) and hands uploads over as
requests. It never touches a device and never decides anything for the line.
"""
