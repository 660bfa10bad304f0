#!/usr/bin/env bash
# Takes tidegate off this host: limits as they were before it, no units, no command.  uninstall.sh [--purge]
set -euo pipefail

say() { echo "uninstall: $*"; }
die() { echo "uninstall: $*" >&2; exit 1; }
home=/opt/tidegate command=/usr/local/bin/tidegate units=/usr/local/lib/systemd/system
own=(/etc/tidegate /var/lib/tidegate)
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
living=$(find $tenants -mindepth 2 -name cgroup.procs -exec grep -l . {} + 2>/dev/null || true)
if [ -n "$living" ]; then
  say "processes live on, without limits, in:"
  sed 's|/cgroup.procs$||; s|^|  |' <<<"$living"
fi
say "done"
