"""Prediction-powered inference: few labels, many predictions, intervals that hold with few."""

from statllm.estimators.ppi.bounded import ppi_mean_by_betting
from statllm.estimators.ppi.cross_prediction import cross_predictions
from statllm.estimators.ppi.mean import ppi_mean
from statllm.estimators.ppi.published import (
    published_logistic,
    published_mean,
    published_ols,
    published_quantile,
)
from statllm.estimators.ppi.quantile import ppi_quantile
from statllm.estimators.ppi.regression import PPIRegression, ppi_logistic, ppi_ols
from statllm.estimators.ppi.results import PredictionPowered
from statllm.estimators.ppi.stratified import stratified_ppi_mean
from statllm.estimators.ppi.win_rate import corrected_win_rate, rogan_gladen

__all__ = [
    "PPIRegression",
    "PredictionPowered",
    "corrected_win_rate",
    "cross_predictions",
    "ppi_logistic",
    "ppi_mean",
    "ppi_mean_by_betting",
    "ppi_ols",
    "ppi_quantile",
    "published_logistic",
    "published_mean",
    "published_ols",
    "published_quantile",
    "rogan_gladen",
    "stratified_ppi_mean",
]
