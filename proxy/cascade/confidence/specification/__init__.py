"""Read from a request which function it asks for, the examples that it states, and inputs to try."""

from proxy.cascade.confidence.specification.reader import asked_probes, specification
from proxy.cascade.confidence.specification.records import Specification

__all__ = ["Specification", "asked_probes", "specification"]
