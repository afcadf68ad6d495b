"""Every verb but `run` and `page`: each module has add_arguments(parser) and run(arguments) -> exit status."""

from edge.core.types import EdgeError


class CommandError(EdgeError):
    """A command cannot be carried out, or what it checks does not hold."""
