"""What several commands and systemd say of the agent, in one form.  Pure."""

NO_TENANT = (
    "No tenant is configured. A tenant is a file in tenants.d, beside tidegate.toml: copy "
    "NAME.toml.example to web.toml, say, and edit it (with `observe = true` nothing is limited). "
    "`tidegate check-config` names its faults, `systemctl reload-or-restart tidegate` takes it on."
)


def enforcing_text(tenants: int, observed: int, *, is_observing: bool) -> str:
    """Say how many tenants' limits are written, and how many tenants are only observed."""
    if is_observing:
        return f"OBSERVING {_counted(tenants)}: nothing is written"
    if observed:
        return f"enforcing {tenants - observed} of {_counted(tenants)}, {observed} observed"
    return f"enforcing {_counted(tenants)}"


def _counted(tenants: int) -> str:
    return f"{tenants} tenant{'' if tenants == 1 else 's'}"
