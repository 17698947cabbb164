"""Errors that the federation raises on purpose; each message names the value, the bound and the remedy."""

from __future__ import annotations


class SecureFclError(Exception):
    """Something the user can mend. The command line prints it in one line and exits with code 2."""


class ConfigInvalid(SecureFclError):
    """A configuration key is unknown, or a value is outside its range."""


class FeaturesRefused(SecureFclError):
    """Features of the user's own cannot be summed: they fail, are not finite, or change their length."""


class RunFolderError(SecureFclError):
    """A run folder is missing, in use, finished, or does not belong to this configuration."""


class RunInUse(RunFolderError):
    """Another process holds the run folder."""


class WorkerLost(SecureFclError):
    """A worker process ended or reported a failure."""


class SumAborted(SecureFclError):
    """The secure sum ended without a result; the reason is the protocol's."""


class QuorumMissing(SecureFclError):
    """Too few parties of a deployment came, or stayed; nothing is wrong with the run, which can go on."""


class StorageTooSmall(SecureFclError):
    """The device's storage budget cannot hold what the configuration asks it to keep."""


class JournalRefused(SecureFclError):
    """A device's journal contradicts what it is asked for, lacks what would allow it, or cannot be read."""


class ConfigurationDiffers(SecureFclError):
    """A server asks a device for a run of another configuration or calendar than the device's own."""


class ClaimRefused(SecureFclError):
    """A device is asked for a second answer to an attempt at a round, or for an answer that a crash took."""


class DeviceRefused(SecureFclError):
    """A device's folder or state cannot be used: a file is missing, open to others, damaged, or of another device."""


class FrameRefused(SecureFclError):
    """A frame between the run and a party is malformed, or of another kind than its place asks for."""


class CarrierLost(SecureFclError):
    """What carries messages between server and clients is gone, or is another release than this one was tested with."""


class InputRefused(SecureFclError):
    """What was given to a model, or to a call of the Python API, has another shape, kind or type than it needs."""
