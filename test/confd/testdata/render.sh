#!/bin/sh
# Writes the file named by the first argument from the keys below /app: one `name = value` a line. exec-watch runs it at each change
# and does not wait for it, so that two may run at once: a lock lets one write after the other, and each reads the keys
# when it has the lock, so the last one writes what is newest. The file is replaced, never half written.
set -eu
exec 9>"$1.lock"
flock 9
"$ETCDCTL" ls --sort /app | while read -r key; do
	value=$("$ETCDCTL" get "$key") || continue # gone in the meantime: its own event will tell
	echo "${key#/app/} = $value"
done >"$1.new"
mv "$1.new" "$1"
