"""Run programs of a model in a sandbox."""

from proxy.sandbox.bubblewrap import Sandbox, SandboxError, open_sandbox

__all__ = ["Sandbox", "SandboxError", "open_sandbox"]
