"""What `status` and systemd both say of the agent, in one form.  Pure."""


def enforcing_text(tenants: int, observed: int, *, is_observing: bool) -> str:
    """Say how many tenants' limits are written, and how many tenants are only observed."""
    if is_observing:
        return f"OBSERVING {_counted(tenants)}: nothing is written"
    if observed:
        return f"enforcing {tenants - observed} of {_counted(tenants)}, {observed} observed"
    return f"enforcing {_counted(tenants)}"


def _counted(tenants: int) -> str:
    return f"{tenants} tenant{'' if tenants == 1 else 's'}"
