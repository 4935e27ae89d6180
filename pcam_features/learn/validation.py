"""scikit-learn's check of the input of an estimator, under the name it has from scikit-learn 1.6 on."""

from __future__ import annotations

from typing import Any

try:
    from sklearn.utils.validation import validate_data
except ImportError:  # scikit-learn 1.5 has it as a method of estimators

    def validate_data(estimator: Any, X: Any, *given: Any, **how: Any) -> Any:
        """Check and convert the input of an estimator."""
        return estimator._validate_data(X, *given, **how)


__all__ = ["validate_data"]
