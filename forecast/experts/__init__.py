"""The experts: one small file each; `forecast.panel` says which of them a forecaster can afford."""
