"""Kernel shells: counters of tenants' cgroups in, limits out."""
