#!/usr/bin/env bash
# Makes a stand-in for Bun's slim image where a registry cannot be reached: Debian's smallest system, the Bun that runs
# the tests, and a user `bun` with the id 1000. Where the image is there already, nothing is done.
#   base-image.sh oven/bun:1.4.5-slim /path/to/bun
# Needs root, and: apt-get install podman buildah runc debootstrap
set -euo pipefail
name=$1 bun=$2
! podman image exists "$name" || exit 0

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mirror=$(sed -n 's/^URIs: *//p' /etc/apt/sources.list.d/*.sources 2>/dev/null | grep -v security | head -n 1 || true)
timeout 400 debootstrap --variant=minbase bookworm "$root" "${mirror:-http://deb.debian.org/debian}" >"$root.log" 2>&1 || {
  tail -n 5 "$root.log"
  exit 1
}
rm -rf "$root.log" "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,locale}
install -m 755 "$bun" "$root/usr/local/bin/bun"
ln -s bun "$root/usr/local/bin/bunx"
chroot "$root" useradd --uid 1000 --user-group --create-home bun
tar -C "$root" -c . | podman import --change 'CMD ["/usr/local/bin/bun"]' - "localhost/$name" >/dev/null
