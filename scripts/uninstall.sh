#!/usr/bin/env bash
# Takes tidegate off this host: control files as it found them, no units, no command.  uninstall.sh [--purge]
set -euo pipefail

say() { echo "uninstall: $*"; }
die() { echo "uninstall: $*" >&2; exit 1; }
home=/opt/tidegate command=/usr/local/bin/tidegate units=/usr/local/lib/systemd/system
own=(/etc/tidegate /var/lib/tidegate)
helper=/usr/local/lib/tidegate/tenant
tenants=/sys/fs/cgroup/tidegate.slice/tidegate-tenants.service

purge=
case "$*" in
  "") ;;
  --purge) purge=1 ;;
  *) die "usage: uninstall.sh [--purge]   (--purge: ${own[*]} as well)" ;;
esac
[ "$(id -u)" = 0 ] || die "not root"

if [ -e $units/tidegate.service ] && [ -d /run/systemd/system ]; then
  say "stopping the agent"
  systemctl disable --quiet --now tidegate.service
fi
if [ -x $command ]; then
  say "putting control files back"
  $command release || die "not all could be put back: see above, then run this again"
fi
if [ -e $units/tidegate-tenants.service ] && [ -d /run/systemd/system ]; then
  say "removing units"
  systemctl stop tidegate-tenants.service tidegate.slice
  rm -f $units/tidegate.service $units/tidegate-tenants.service $units/tidegate.slice
  rm -rf /run/systemd/system.control/tidegate{.slice,-tenants.service}.d # what the agent had systemd set
  systemctl daemon-reload
fi
rm -f $command
if mountpoint -q $home || mountpoint -q $home/venv; then
  say "kept $home: it is a mount, or holds one"
else
  rm -rf $home
fi
if [ -n "$purge" ]; then
  rm -rf "${own[@]}"
else
  say "kept ${own[*]} (--purge removes them)"
fi

# Services that start through the helper must start without tidegate too.
named_by=$(grep -rlsF "$helper" /etc/systemd/system /run/systemd/system /usr/local/lib/systemd/system /lib/systemd/system || true)
if [ -n "$named_by" ]; then
  say "kept $helper: these start services through it (without it they would not start):"
  sed 's|^|  |' <<<"$named_by"
else
  rm -rf "$(dirname "$helper")"
fi

# What the kernel holds, whoever wrote it.
in_force() {
  local said='' file
  for file in "${@:2}"; do
    [ ! -r "$1/$file" ] || said+="${said:+; }$file $(cat "$1/$file")"
  done
  echo "  $(basename "$1"): $said"
}
living=$(find $tenants -mindepth 2 -name cgroup.procs -exec grep -l . {} + 2>/dev/null || true)
if [ -n "$living" ]; then
  say "processes live on in:"
  sed 's|/cgroup.procs$||; s|^|  |' <<<"$living"
  say "in force there is, and stays:"
  for tenant in $tenants/*/; do
    in_force "$tenant" cpu.max cpu.weight memory.high memory.low memory.max pids.max
  done
  in_force "$(dirname $tenants)" cpu.weight
fi
say "done"
