"""The memories of the family, each with its dynamics, its energy and its theory."""

__all__: list[str] = []
