"""The demo: one scene of four real tenants, played under four regimes in a kernel of its own."""
