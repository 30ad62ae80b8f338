"""Confidence estimators, one for each task kind. A new kind plugs in here."""

from collections.abc import Mapping
from types import MappingProxyType

from proxy.cascade.confidence.agent import AgentEstimator
from proxy.cascade.confidence.choice import ChoiceEstimator
from proxy.cascade.confidence.code import CodeEstimator
from proxy.cascade.confidence.math import MathEstimator
from proxy.cascade.confidence.open import OpenEstimator
from proxy.cascade.confidence.structured import StructuredEstimator
from proxy.cascade.types import Estimator, TaskKind

ESTIMATORS: Mapping[TaskKind, Estimator] = MappingProxyType(
    {
        TaskKind.MATH: MathEstimator(),
        TaskKind.CHOICE: ChoiceEstimator(),
        TaskKind.CODE: CodeEstimator(),
        TaskKind.AGENT: AgentEstimator(),
        TaskKind.STRUCTURED: StructuredEstimator(),
        TaskKind.OPEN: OpenEstimator(),
    }
)

__all__ = ["ESTIMATORS"]
