"""Demand forecasting: numeric series in, quantile grids and bounds out."""
