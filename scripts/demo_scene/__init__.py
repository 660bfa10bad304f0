"""The demo: scenes of real tenants, with and without tidegate, in a kernel of its own."""
