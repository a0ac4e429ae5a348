#!/usr/bin/env bash
# Makes a stand-in for Bun's slim image where a registry cannot be reached: what the Dockerfile needs of Debian, unpacked, the
# Bun that runs the tests, and a user `bun` with the id 1000. Where the image is there already, nothing is done.
#   base-image.sh oven/bun:1.4.5-slim /path/to/bun
# Needs root, and: apt-get install podman buildah runc mmdebstrap
set -euo pipefail
name=$1 bun=$2
for program in podman buildah runc mmdebstrap; do
  command -v "$program" >/dev/null || {
    echo "$program is not installed: apt-get install podman buildah runc mmdebstrap"
    exit 1
  }
done
podman info >/dev/null || { # it says why
  echo "podman cannot work here"
  exit 1
}
! podman image exists "$name" || exit 0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mirror=$(sed -n 's/^URIs: *//p' /etc/apt/sources.list.d/*.sources 2>/dev/null | grep -v security | head -n 1 || true)
timeout 300 mmdebstrap --variant=extract --include=base-files,coreutils,dash,findutils,libstdc++6 bookworm "$root" \
  "${mirror:-http://deb.debian.org/debian}" >"$work/log" 2>&1 || {
  tail -n 5 "$work/log"
  echo "mmdebstrap cannot get Debian's packages"
  exit 1
}
rm -rf "$root"/usr/share/{doc,man,locale}
install -D -m 755 "$bun" "$root/usr/local/bin/bun"
ln -s bun "$root/usr/local/bin/bunx"
install -d -o 1000 -g 1000 "$root/home/bun"
printf '%s\n' root:x:0:0::/root:/bin/sh bun:x:1000:1000::/home/bun:/bin/sh >"$root/etc/passwd"
printf '%s\n' root:x:0: bun:x:1000: >"$root/etc/group"
tar -C "$root" -c . | podman import --change 'CMD ["/usr/local/bin/bun"]' - "localhost/$name" >/dev/null
