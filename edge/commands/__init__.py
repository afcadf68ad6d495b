"""Every verb but `run` and `page`: each module has add_arguments(parser) and run(arguments) -> exit status."""
