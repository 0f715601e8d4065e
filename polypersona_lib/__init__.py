"""PolyPersona companion: the thin library behind the notebooks. Importing it does no work."""

__version__ = "0.1.0"
