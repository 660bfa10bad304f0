# What a person types: each target does all of its own set-up first.
.PHONY: help test demo bench soak setup

help:
	@echo "make test    set up, then run every check and every test (in the lab where a kernel is needed)"
	@echo "make demo    set up, then show tidegate against its alternatives, live, in the lab"
	@echo "make bench   set up, then measure what a tick costs, beside its budget"
	@echo "make soak    set up, then kill the agent at 200 random instants, in the lab (some 7 minutes)"
	@echo "make setup   install Debian packages, .venv and the project, where they are missing"

setup:
	@scripts/setup

test: setup
	@scripts/lab-deps containers machines
	@scripts/check

demo: setup
	@scripts/demo

bench: setup
	@scripts/bench

soak: setup
	@scripts/soak
