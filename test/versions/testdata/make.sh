#!/bin/bash
# Makes the 0.1.0 data for test/versions; run it with ETCD and ETCDCTL of that version.
set -euo pipefail
ETCD=${ETCD:-/work/base/etcd}; CTL=${CTL:-/work/base/etcdctl}
W=$(mktemp -d /tmp/store-mk.XXXX); OUT=$PWD/out; mkdir -p $OUT
pids=()
trap 'kill -9 "${pids[@]}" 2>/dev/null || true' EXIT
E=http://127.0.0.1:24379
$ETCD --name one --data-dir $W/one --listen-client-urls $E --advertise-client-urls $E \
  --listen-peer-urls http://127.0.0.1:24380 --initial-advertise-peer-urls http://127.0.0.1:24380 \
  --initial-cluster one=http://127.0.0.1:24380 --initial-cluster-token v010 --max-learners 2 > $W/one.log 2>&1 &
pids+=($!); one=$!
export ETCDCTL_API=3 ETCDCTL_ENDPOINTS=$E
for i in $(seq 50); do $CTL endpoint health >/dev/null 2>&1 && break; sleep .2; done
for i in $(seq 1 20); do $CTL put key/$(printf %02d $((i%10))) value-$i >/dev/null; done
$CTL put big "$(head -c 40000 /dev/zero | tr '\0' x)" >/dev/null
$CTL del key/03 >/dev/null
$CTL put gone 1 >/dev/null; $CTL del gone >/dev/null
$CTL get "" --prefix --rev 5 >/dev/null
L=$($CTL lease grant 315360000 | awk '{print $2}'); echo $L > $OUT/lease
$CTL put leased/a 1 --lease=$L >/dev/null; $CTL put leased/b 2 --lease=$L >/dev/null
curl -sf $E/v2/keys/dir/sub -XPUT -d dir=true >/dev/null
curl -sf $E/v2/keys/dir/sub/file -XPUT -d value=v2 >/dev/null
curl -sf $E/v2/keys/dir/ttl -XPUT -d value=v2ttl -d ttl=315360000 >/dev/null
curl -sf $E/v2/keys/dir/empty -XPUT -d dir=true >/dev/null
curl -sf $E/v2/keys/queue -XPOST -d value=first >/dev/null
$CTL compaction 6 >/dev/null
$CTL role add reader >/dev/null; $CTL role grant-permission reader read key/ --prefix=true >/dev/null
$CTL user add alice:secret >/dev/null; $CTL user grant-role alice reader >/dev/null
$CTL user add root:rootpw >/dev/null; $CTL user grant-role root root >/dev/null
$CTL member add learner --learner --peer-urls=http://127.0.0.1:24999 >/dev/null
$CTL auth enable >/dev/null
A="--user root:rootpw"
$CTL $A put after-auth 1 >/dev/null
$CTL $A snapshot save $OUT/backup.db >/dev/null
$CTL $A put behind-backup 1 >/dev/null
$CTL $A get "" --prefix -w json > $OUT/get.json
$CTL $A get key/01 --rev 12 -w json > $OUT/get12.json
$CTL $A member list -w json > $OUT/members.json
$CTL $A alarm list > $OUT/alarms
curl -s -u root:rootpw "$E/v2/keys/?recursive=true&sorted=true" > $OUT/v2.json
kill -9 $one; wait $one 2>/dev/null || true
tar -C $W --sparse -czf $OUT/one.tar.gz one
# three members, one of them stopped in order
C=a=http://127.0.0.1:24480,b=http://127.0.0.1:24580,c=http://127.0.0.1:24680
for n in a:244 b:245 c:246; do p=${n#*:}; n=${n%:*}
 $ETCD --name $n --data-dir $W/$n --listen-client-urls http://127.0.0.1:${p}79 --advertise-client-urls http://127.0.0.1:${p}79 \
  --listen-peer-urls http://127.0.0.1:${p}80 --initial-advertise-peer-urls http://127.0.0.1:${p}80 \
  --initial-cluster $C --initial-cluster-token v010-three > $W/$n.log 2>&1 & pids+=($!)
done
export ETCDCTL_ENDPOINTS=http://127.0.0.1:24479
for i in $(seq 50); do $CTL endpoint health >/dev/null 2>&1 && break; sleep .2; done
for i in 1 2 3; do $CTL put k$i v$i > /dev/null; done
sleep 1
kill ${pids[-3]}; wait ${pids[-3]} || true
kill -9 ${pids[-1]} ${pids[-2]}; wait ${pids[-1]} ${pids[-2]} || true
for n in a b c; do tar -C $W --sparse -czf $OUT/three-$n.tar.gz $n; done
rm -rf $W
ls -la $OUT
