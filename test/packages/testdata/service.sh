# Installs, upgrades, kills, removes and purges the package, as an administrator does, under the systemd that runs this.
set -eu
export DEBIAN_FRONTEND=noninteractive HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin ETCDCTL_API=3
# A machine that stops for 2 s fails no command.
export ETCDCTL_DIAL_TIMEOUT=30s ETCDCTL_COMMAND_TIMEOUT=60s ETCDCTL_TIMEOUT=30s ETCDCTL_TOTAL_TIMEOUT=60s

fail() {
	echo "FAILED: $*"
	systemctl --no-pager --full status etcd || true
	journalctl --no-pager -u etcd -n 30 2>/dev/null || true
	exit 1
}
# until_true COMMAND…
until_true() {
	local end=$((SECONDS + 120))
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $end ] || fail "in time: $*"
		sleep 0.05
	done
}
main_pid() { systemctl show -P MainPID etcd; }
value() { etcdctl get --print-value-only "$1"; }

echo '# Debian'"'"'s packages of etcd make room'
dpkg -r etcd-server etcd-client patroni >/dev/null 2>&1 || true
dpkg -P etcd-server etcd-client >/dev/null 2>&1 || true
[ ! -e /usr/bin/etcd ] || fail 'an etcd is still installed'
rm -rf /var/lib/etcd

echo '# installation'
dpkg -i /mnt/old.deb
[ "$(systemctl is-enabled etcd)" = enabled ] || fail 'not enabled'
[ "$(systemctl is-active etcd)" = active ] || fail 'Type=notify: started, and not active'
[ "$(ps -o user= -p "$(main_pid)")" = etcd ] || fail 'not run by the user etcd'
[ "$(stat -c '%U %G %a' /var/lib/etcd)" = 'etcd etcd 700' ] || fail "data directory: $(stat -c '%U %G %a' /var/lib/etcd)"
[ "$(etcdctl put k 1)" = OK ] || fail 'put'
[ "$(ETCDCTL_API=2 etcdctl set /v2 two)" = two ] || fail 'v2'
etcd --version | grep -q '^Cairn Version:' || fail 'not cairn'
man --version >/dev/null 2>&1 && ! man -w etcdctl-member-list etcd etcdutl >/dev/null && fail 'man pages'
[ -s /usr/share/bash-completion/completions/etcdctl ] || fail 'completion'

echo '# kill -9: it is restarted, with nothing lost'
etcdctl put k 2 >/dev/null
before=$(main_pid)
kill -9 "$before"
until_true sh -c "[ \$(systemctl show -P MainPID etcd) != $before ] && [ \$(systemctl is-active etcd) = active ]"
[ "$(value k)" = 2 ] || fail 'an acknowledged write is lost'

echo '# a process that is stuck: the watchdog restarts it'
mkdir -p /run/systemd/system/etcd.service.d
printf '[Service]\nWatchdogSec=6\nRestartSec=100ms\n' >/run/systemd/system/etcd.service.d/test.conf
systemctl daemon-reload
systemctl restart etcd
stuck=$(main_pid)
started=$(systemctl show -P WatchdogTimestampMonotonic etcd)
until_true sh -c "[ \$(systemctl show -P WatchdogTimestampMonotonic etcd) -gt $started ]" # the member reports that it works
[ "$(main_pid)" = "$stuck" ] || fail 'a member that works was restarted'
kill -STOP "$stuck"
until_true sh -c "[ \$(systemctl show -P MainPID etcd) != $stuck ] && [ \$(systemctl is-active etcd) = active ]"
[ "$(value k)" = 2 ] || fail 'data after the watchdog'

echo '# reload: SIGHUP, and ready again'
reloaded=$(main_pid)
systemctl reload etcd
[ "$(main_pid)" = "$reloaded" ] || fail 'a reload has restarted the member'
[ "$(systemctl is-active etcd)" = active ] || fail 'not active after a reload'

echo '# upgrade: options that were changed stay, the service is restarted'
printf 'ETCD_NAME=changed\nETCD_LOG_OUTPUTS=systemd/journal\n' >>/etc/default/etcd
running=$(main_pid)
dpkg --force-confold -i /mnt/new.deb
[[ "$(dpkg-query -W -f '${Version}' cairn)" = *+test ]] || fail 'version'
[ "$(main_pid)" != "$running" ] || fail 'not restarted'
[ "$(systemctl is-active etcd)" = active ] || fail 'not active after the upgrade'
grep -q '^ETCD_NAME=changed' /etc/default/etcd || fail 'the options were overwritten'
[ "$(value k)" = 2 ] || fail 'data after the upgrade'

echo '# the journal, in which the options have asked for the log: without the times that it shows itself, with priorities'
until_true sh -c "journalctl --no-pager -t etcd -o cat | grep -q '^etcd: ready to serve client requests'"
until_true sh -c "journalctl --no-pager -t etcd -p notice -o cat | grep -q '^etcd: serving insecure client requests'"
! journalctl --no-pager -t etcd -p notice -o cat | grep -q 'ready to serve' || fail 'the priority of an information is notice'

echo '# a stop answers what is under way'
systemctl stop etcd
[ "$(systemctl show -P ExecMainStatus etcd)" = 0 ] || fail "exit status $(systemctl show -P ExecMainStatus etcd)"
systemctl start etcd

echo '# removal and purge: the data stays'
dpkg -L cairn >/tmp/installed
dpkg -r cairn
[ "$(systemctl is-active etcd)" != active ] || fail 'runs after its removal'
[ ! -e /usr/bin/etcd ] || fail 'programs are left'
[ -e /etc/default/etcd ] || fail 'a removal deletes the options'
dpkg -P cairn
left=$(
	while read -r path; do [ -d "$path" ] || [ ! -e "$path" ] || echo "$path"; done </tmp/installed
	find /usr/share/doc/cairn /etc/systemd/system /var/lib/systemd -name '*etcd*' 2>/dev/null || true
)
[ -z "$left" ] || fail "left after the purge: $left"
[ -d /var/lib/etcd/member ] || fail 'a purge deletes the data'

echo '# installed again, it goes on with the data'
dpkg -i /mnt/new.deb
[ "$(value k)" = 2 ] || fail 'data after a new installation'
dpkg -P cairn

echo '# the tutorial'"'"'s service, as it is printed'
dpkg -x /mnt/old.deb /tmp/cairn
mkdir -p /opt/etcd/config/ /var/lib/etcd/
rm -rf /var/lib/etcd/*
cp /tmp/cairn/usr/bin/etcd /tmp/cairn/usr/bin/etcdctl /opt/etcd
cat <<END | tee /opt/etcd/config/etcd.conf >/dev/null
#节点名称
ETCD_NAME=$(hostname -s)
#数据存放位置
ETCD_DATA_DIR=/var/lib/etcd
END
cat <<END | tee /etc/systemd/system/etcd.service >/dev/null

[Unit]
Description=Etcd Server
Documentation=https://github.com/coreos/etcd
After=network.target

[Service]
User=root
Type=notify
EnvironmentFile=-/opt/etcd/config/etcd.conf
ExecStart=/opt/etcd/etcd
Restart=on-failure
RestartSec=10s
LimitNOFILE=40000

[Install]
WantedBy=multi-user.target
END
systemctl daemon-reload && systemctl enable etcd && systemctl start etcd
[ "$(systemctl is-active etcd)" = active ] || fail 'the tutorial'"'"'s service'
[ "$(ETCDCTL_API=2 /opt/etcd/etcdctl set /testdir/testkey 'Hello world')" = 'Hello world' ] || fail 'the tutorial'"'"'s set'
ETCDCTL_API=2 /opt/etcd/etcdctl member list | grep -q "name=$(hostname -s) " || fail 'the tutorial'"'"'s name'
systemctl stop etcd
echo 'all good'
