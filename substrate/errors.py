"""The errors a user can act on; the command line turns each into one message and an exit code."""


class SubstrateError(Exception):
    """Base of every error raised on purpose by this project."""


class InputError(SubstrateError, ValueError):
    """Bad input: the message names the file, key path or value, and what was expected (exit code 2)."""


class CapabilityError(InputError):
    """A request that the device cannot carry out, or would not survive; the message names the capability."""


class ConvergenceError(SubstrateError, RuntimeError):
    """A solve ended above its stated residual; the message gives the residual that was reached."""


class RunFileError(InputError):
    """A run file that is missing, damaged or of another schema."""


class RunWriteError(SubstrateError, RuntimeError):
    """A run file that could not be written on, say for want of disk space (exit code 1)."""


class WorkerKilled(SubstrateError, RuntimeError):
    """A process of a sweep that ended before its run; what it had written stays (exit code 1)."""


class RunInterrupted(SubstrateError):
    """The run was stopped on request at a checkpoint (exit code 130)."""
