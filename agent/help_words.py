"""What the help of commands says that takes more than a few lines: what their words mean.  Pure."""

WORDS = """
\b
Words:
  tenant          a cgroup with a file of its own in tenants.d
  tick, step      each second the agent decides; each minute, of which it
                  keeps the mean, it forecasts
  horizon         how far people are shown what is coming: 15 minutes
  limit           what a tenant may use: the three that follow, added up
    guaranteed    what nobody takes from it: its floor, and what it is
                  expected to use above that, as far as that is certain
    lent          on top of it, until others need it
    emergency     granted for a time to who hits its limit unexpectedly
  floor, ceiling  the least and the most that its limit may be, by its file
  token           a core-second, a byte, ...: what a tenant leaves of its
                  share it banks, what it overspends is a debt; in a shortage
                  a bank makes its share larger, a debt smaller
  observed        decided for and shown, and no limit is written

`tidegate COMMAND --help` says what each thing that it shows means.
"""

STATUS = """Show what each tenant uses, is promised and may use.

The first line is the agent's: its last tick (each second it decides), how many came late, its
forecaster (starting, live, late or dead: then a simple rule stands in), "learning" while limits
that were found at its start are left standing, and for how many tenants it writes limits.  Where
tenants are only observed, it counts the writes that were left out since the agent's start.

\b
The first table is the host, cpu in cores and memory in bytes:
CAPACITY    what there is to divide, without the system's reserve
GUARANTEED  what tenants' limits are made of: what nobody takes from them,
LENT        what they may use on top, until others need it (in elastic mode
            it is lent to several at once: LENT and LIMITS exceed CAPACITY),
EMERGENCY   and what was granted to tenants that hit their limit unexpectedly;
            RESERVED is kept for that
LIMITS      sum of all limits, of observed tenants what they would be
SHORTAGE    chance that tenants will want more than there is in the next step
            (a minute), by forecasts that are made anew as each step ends:
            they may be idle now.  Of a tenant of which nothing is known yet
            all up to its ceiling counts as likely

\b
The second is the tenants:
USED     in the last tick (memory: holds now)
DEMAND   what it would have used; ~ marks an estimate, since it was held back
BOUND    what its highest demand will stay below within the next 15 minutes
         (the horizon), by the forecast
GUAR     guaranteed part of the limit
LIMIT    what it may use now; in (parentheses) what it would be allowed: the
         tenant is only observed, and nothing of it is in force
THR      share of the last tick's cpu periods in which it was throttled;
         - where it ran in none
BALANCE  tokens (core-seconds) that it left of its share and has banked, or
         overspent where negative: a debt

Where disks, the network or requests are divided, the first table has them too, each by its name,
such as disk_read:sda; `--resource NAME` shows the tenants' parts.  A NAME without a device is what
is counted of it in all: disk_read, disk_write, disk_read_ops, disk_write_ops, net_out, net_in,
requests.

\b
The third is there where tenants are only observed: what each of their
control files holds, and -> what would be written to it.

\b
STATE, the most important first (+n: n more, all are in --json):
  absent      there is no cgroup of that name now
  unenforced  some limit of it cannot be enforced on this kernel
  emergency   holds a grant from the emergency pool
  observed    decided for, but nothing is written
  pinned      an operator pinned a limit of it, or somebody else set one
              (`tidegate explain` says which, and for how long)
  empty       there is no process in it (looked at every tenth tick)
  debt        has overspent its tokens
  throttled   the kernel throttles its cpu
  squeezed    its memory is held at the limit
  learning    too little history for a forecast
  fallback    a simple rule stands in: the forecaster does not answer, or
              its model has been poor for long
  poor        its forecast has been poor (`tidegate forecast` says how)
  live        none of these
"""

EXPLAIN = """Show why TENANT has the limits that it has: from measurement to kernel, in numbers.

\b
measured       what it used in the last tick
demand         what it would have used without its limit
forecast       what it is expected to use in the next step, and what it will
               stay below within the horizon (15 minutes)
accuracy       how good such forecasts of it have been
metric, event  what its application reports, and what is known to come: where
               they changed the forecast
risk           how much of what is expected is too uncertain to be set aside
guaranteed     the part of its limit that nobody takes from it
opportunistic  what it is lent on top
emergency      what it was granted since it hit its limit unexpectedly
limit          these three added up: what was decided
balance        tokens that it has banked, or a debt, and what that changes
pin            whether an operator, or somebody else, holds its limit
kernel         what control files hold, and why where that differs
"""

EVENTS = """List known events that are on or coming within the next two days.

\b
STARTS    in UTC, the first time
AGAIN     how many times more within the two days; --all lists each
LASTS     from then on
EVENT     its name, in the configuration or in an iCalendar file
CONCERNS  all tenants, those of regions, or one
TAKES     how many times as much as before it, by resource: as configured, or
          learned from so many occurrences, from the least tenant to the most;
          unknown until the first has been

Below it stands each file or rule that cannot be read now, and why: its events are those that were
known before, until it can be.

What is expected rises calendar.lead_s before an event starts; `tidegate explain TENANT` says when
it did.
"""
