"""The backtest: the production core and its peers over recorded or synthetic demand."""
