# Boots systemd over a view of this machine's file system, whose changes are kept in memory, and runs service.sh in it.
# In the environment: ROOT, an empty directory; DIR, what service.sh needs, which becomes /mnt. The test runs this in
# namespaces of its own; the exit status is that of service.sh.
set -eu
mount --make-rprivate /
mount -t tmpfs changes "$ROOT"
mkdir "$ROOT"/{upper,work,root,dir}
mount --bind "$DIR" "$ROOT/dir"
mount -t overlay root -o "lowerdir=/,upperdir=$ROOT/upper,workdir=$ROOT/work" "$ROOT/root"
mount --bind "$ROOT/dir" "$ROOT/root/mnt"
cd "$ROOT/root"
mount -t proc proc proc
mount -t sysfs sys sys
mount -t tmpfs cgroup sys/fs/cgroup
mkdir sys/fs/cgroup/{systemd,unified}
mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd
mount -t cgroup2 cgroup sys/fs/cgroup/unified
mount --rbind /dev dev
mount -t tmpfs run run
mount -t tmpfs tmp tmp
ip link set lo up
# Of this machine's services none is started, and its etcd is not installed.
rm -rf etc/systemd/system/*.wants etc/rc?.d usr/sbin/policy-rc.d
# What takes time and is not tested: the index of all man pages, and waiting for other file systems' disks.
ln -sf true usr/bin/mandb
echo force-unsafe-io >etc/dpkg/dpkg.cfg.d/test
cat >etc/systemd/system/test.service <<END
[Unit]
SuccessAction=exit
FailureAction=exit
FailureActionExitStatus=1
SuccessActionExitStatus=0
[Service]
Type=oneshot
ExecStart=/bin/bash /mnt/service.sh
StandardOutput=append:/mnt/output
StandardError=append:/mnt/output
END
export container=other
exec chroot . /lib/systemd/systemd --system --unit=test.service --log-target=console --log-level=notice --show-status=0
