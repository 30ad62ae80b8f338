"""Runs programs that a model wrote, where they can do no harm."""

from proxy.sandbox.bubblewrap import Sandbox, SandboxError, open_sandbox

__all__ = ["Sandbox", "SandboxError", "open_sandbox"]
