"""Tenants' share of the network: HTB classes on uplinks, and what chooses among them."""
