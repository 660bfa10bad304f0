#!/usr/bin/env bash
# Installs tidegate on this host: a venv of its own, the command, the units and a first configuration.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { echo "install: $*"; }
die() { echo "install: $*" >&2; exit 1; }
venv=/opt/tidegate/venv units=/usr/local/lib/systemd/system config=/etc/tidegate

[ "$(id -u)" = 0 ] || die "not root"
if ! $venv/bin/python -c '' 2>/dev/null; then
  scripts/venv $venv
fi

pip_install() { $venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input "$@"; }
say "installing tidegate and its locked dependencies in $venv"
pip_install --use-pep517 --require-hashes -r requirements.lock || die "pip could not install requirements.lock"
# From a copy: what an earlier build left beside the sources must not get into this one, nor what Python caches there.
source=$(mktemp -d)
trap 'rm -rf "$source"' EXIT
find agent enforce forecast pyproject.toml README.md LICENSE -name __pycache__ -prune -o -type f \
  -exec cp --parents -t "$source" {} + || die "the sources could not be copied"
pip_install --no-deps --no-build-isolation --force-reinstall "$source" || die "pip could not install tidegate"
$venv/bin/python -Ic 'import enforce.links.programs as p, sys; sys.exit(not p.OBJECT.exists())' ||
  say "no clang here, and no BPF object beside the sources: no network will be limited"
install -d /usr/local/bin
ln -sfn $venv/bin/tidegate /usr/local/bin/tidegate

say "installing units in $units"
install -Dm644 -t $units systemd/tidegate.service systemd/tidegate-tenants.service systemd/tidegate.slice
install -Dm755 -t /usr/local/lib/tidegate systemd/tenant
install -Dm644 -t /usr/local/lib/tidegate systemd/network.conf
install -d $config/tenants.d
[ -e $config/tidegate.toml ] || install -m644 docs/examples/tidegate.toml $config/tidegate.toml
install -m644 docs/examples/tenant.toml $config/tenants.d/NAME.toml.example
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
fi
say "done; next: one file a tenant in $config/tenants.d, tidegate check-config, systemctl enable --now tidegate"
