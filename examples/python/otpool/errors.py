"""The errors of otpool. Their messages are the library's."""


class Error(Exception):
    """Base of every error that otpool raises."""


class InvalidArgument(Error, ValueError):
    """An argument outside its range: "ARGUMENT is FOUND; allowed: ALLOWED". Raised before any work."""


class UnsupportedProblem(Error, NotImplementedError):
    """A valid problem that the named solver does not solve. Raised before any work."""
