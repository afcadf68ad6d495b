"""Bundle and image in, decision out: the verified folder, the prepared tensor, the model, the verdict, the heatmap.

The workstation reads this room too, so that every reported number is measured through the code that ships.
"""
