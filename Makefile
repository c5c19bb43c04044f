# cairn's commands. `make help` lists them; CI runs `make lint` and `make test` (.ci/run).

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

BIN := $(CURDIR)/bin

# The programs are static, and building them needs no C compiler. Only the race detector needs one.
export CGO_ENABLED ?= 0
# The commit that `etcd --version` shows. Go finds it in a clone by itself, and not in a worktree.
COMMIT = $(shell [ -f .git ] && git describe --always --dirty --abbrev=7 --exclude='*' 2>/dev/null)
# No path of this machine is in the programs, so that all checkouts share Go's build cache, and releases are reproducible.
export GOFLAGS ?= -trimpath
# The programs, and those of them that `make install` installs.
COMMANDS := $(notdir $(wildcard cmd/*))
PROGRAMS := $(filter-out bench,$(COMMANDS))

# Passed to the server by `make run`, for example ARGS='--data-dir /tmp/d'.
ARGS ?=
# The client port of `make run`; the peer port is the next one. `make cluster` uses six, from this one on.
PORT ?= 2379
# The architectures of `make dist`, and that of `make deb` and `make image`.
ARCHES ?= amd64 arm64
ARCH ?= $(shell go env GOARCH)
# The directory of what is released.
DIST ?= $(BIN)/dist
# Where `make install` puts the programs: $(DESTDIR)$(PREFIX)/bin.
PREFIX ?= /usr/local
DESTDIR ?=
# The simulated schedules: how many, or the seed of a single one to replay.
SEEDS ?= 200
SEED ?=
# For how many minutes `make sim` runs seeds instead of SEEDS of them, and `make torture` its clusters (2 unless told).
MINUTES ?=
# What of others the tests drive: Debian's packages, and npm for those in test/npm and test/console.
CLIENTS := etcd-client etcd-server python3-etcd python3-etcd3 python3-idna patroni postgresql chromium zsh fish npm
# Further flags of test/torture, for example TORTUREFLAGS='-only "kill leader"'.
TORTUREFLAGS ?=
# The clusters of `make soak` live long, and keep their processes, so that leaks show.
SOAKFLAGS := -sizes 3 -bout 20m -pause 80ms -only 'pause,pause leader,partition,cut off leader,delay,cut connections,move leader'
# The cells of `make matrix`, REQUEST/CLIENT/CONNECTIONS as in the names of the tests; by default all.
CELLS ?=
# The size of the store of `make large`.
MEGABYTES ?=
# How long each fuzz target runs.
FUZZTIME ?= 30s
# The packages whose tests run under the race detector: all of ours but those that only drive other processes.
RACE ?= ./cmd/... ./internal/... $(if $(wildcard sim),./sim/...) $(if $(wildcard check),./check/...)
# The server that `make bench` compares ours with, and further flags of `bench compare`, for example BENCHFLAGS=-short.
THEIRS ?= /usr/bin/etcd
BENCHFLAGS ?= -runs 3 -o markdown
# The sizes of `make bench-large` and `make bench-many`, which end within some minutes. Without these flags the programs
# use the sizes of their full runs (docs/performance.md).
LARGEFLAGS ?= -keys 1000000 -history 2GiB -batch 16
MANYFLAGS ?= -leases 100000 -together 20000 -watches 200000 -connections 5000

# The tests of the Go client that a gRPC proxy cannot pass, as etcd's cannot (docs/compatibility.md says why).
BEHIND_SKIP := TestHeaders|TestMembers|TestV2Members|TestWatchLimit

# The linters, pinned. They are taken from Go's bin directory when the version there is this one, and else
# built into bin/tools through the Go module proxy.
GOLANGCI := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOFUMPT := mvdan.cc/gofumpt@v0.12.0

# The four flags that move a member to other ports; the defaults need none.
CLIENT := http://127.0.0.1:$(PORT)
PEER := http://127.0.0.1:$(shell expr $(PORT) + 1)
PORTFLAGS := $(if $(filter-out 2379,$(PORT)),--listen-client-urls $(CLIENT) --advertise-client-urls $(CLIENT) \
	--listen-peer-urls $(PEER) --initial-advertise-peer-urls $(PEER) --initial-cluster default=$(PEER))

.PHONY: help run cluster build console console-large install dist deb image imagecheck test behind race sim torture stress hostile matrix soak frames migrate damage large fuzz lint bench bench-large bench-many generate man deps

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' Makefile

run: build ## build, and start a single member on 127.0.0.1:PORT (2379; data in ./default.etcd)
	exec $(BIN)/etcd $(PORTFLAGS) $(ARGS)

build: ## build the programs into bin/
	@mkdir -p $(BIN)
	@[ -x $(BIN)/etcd ] || echo 'building into bin/; the first build compiles all dependencies and takes a minute or two' >&2
	go build $(if $(COMMIT),-ldflags '-X cairn/internal/version.commit=$(COMMIT)') -o $(BIN)/ $(COMMANDS:%=./cmd/%)

console: ## build the web console's files from web/ into internal/console/dist, which is committed
	cd web && npm ci --ignore-scripts --no-audit --no-fund && npm test && npm run build

console-large: ## show any of a million keys in the web console, and measure what an open page costs the server
	CAIRN_CONSOLE_KEYS=1000000 go test ./test/console -run TestConsole/many -v -count=1 -timeout 12m

install: build ## copy the programs to $(DESTDIR)$(PREFIX)/bin, by default /usr/local/bin
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 755 $(PROGRAMS:%=$(BIN)/%) $(DESTDIR)$(PREFIX)/bin

cluster: build ## run three members with mutual TLS on 127.0.0.1:PORT to PORT+5 until Ctrl-C; DIR=d keeps their data
	@PORT=$(PORT) DIR='$(DIR)' exec scripts/cluster $(BIN)

dist: ## make reproducible archives for ARCHES (amd64 arm64), their SBOMs and checksums in bin/dist
	scripts/dist $(DIST) $(ARCHES)

deb: ## make a Debian package for ARCH in bin/dist; it takes the place of etcd-server and etcd-client
	scripts/deb $(DIST) $(ARCH)

image: ## make a container image for ARCH with podman, buildah or docker
	scripts/image $(BIN)/image-$(ARCH) $(ARCH)

imagecheck: image ## make the image, start its member, put and get a key (buildah, root; ARCH=arm64 runs under qemu-user)
	scripts/imagecheck $(ARCH)

test: build ## run every test: Go packages, real clients, recorded conformance
	scripts/clients $(CLIENTS)
	CAIRN_TEST_ETCD=$(BIN)/etcd CAIRN_TEST_ETCDCTL=$(BIN)/etcdctl go test -timeout 8m ./...
	CAIRN_TEST_ETCD=$(BIN)/etcd go -C test/k8s test -timeout 8m ./...
	scripts/conformance $(BIN)/etcd $(BIN)/etcdctl
	@scripts/clients --report $(CLIENTS)

behind: build ## play tests of clients through the proxies: the recorded conformance, and the Go client's tests
	scripts/behind httpproxy $(BIN)/etcd $(BIN)/behind-http && CAIRN_CASES=test/conformance/proxy.txt scripts/conformance $(BIN)/behind-http $(BIN)/etcdctl
	scripts/behind grpcproxy $(BIN)/etcd $(BIN)/behind-grpc && CAIRN_TEST_ETCD=$(BIN)/behind-grpc CAIRN_TEST_ETCDCTL=$(BIN)/etcdctl go test -timeout 15m -skip '^($(BEHIND_SKIP))$$' ./test/goclient ./test/recipes

coredns: build ## run CoreDNS with its etcd plugin in front of a member, and ask it by DNS queries (a module of its own)
	CAIRN_TEST_ETCD=$(BIN)/etcd go -C test/coredns test -count 1 -timeout 8m ./...

race: ## run the packages' tests under the race detector, with the expensive invariant checks
	CGO_ENABLED=1 go test -race -tags invariants -timeout 20m $(RACE)

sim: ## run whole clusters from SEEDS=n seeds, for MINUTES=m, or from SEED=n alone; what fails is minimised and kept in sim/testdata
	go test -tags invariants -count 1 -timeout 24h -v -run 'TestSeeds' ./sim -keep -seeds $(SEEDS) $(if $(MINUTES),-minutes $(MINUTES)) $(if $(SEED),-seed $(SEED))
	CAIRN_CRASH_SEEDS=$(if $(MINUTES),20,$(SEEDS)) CAIRN_CRASH_SEED=$(SEED) go test -tags invariants -count 1 -timeout 60m -v -run Crash ./internal/replica

torture: ## kill, pause, cut off, damage and replace members of real clusters for MINUTES=n, and check what clients saw
	@mkdir -p $(BIN)/tools
	go build -tags invariants -o $(BIN)/tools/ ./test/torture ./cmd/etcd
	$(BIN)/tools/torture -etcd $(BIN)/tools/etcd -minutes $(or $(MINUTES),2) $(TORTUREFLAGS)

stress: build ## run the tests of PACKAGES ROUNDS times (1) as on a busy machine, which stops and continues their processes
	CAIRN_TEST_ETCD=$(BIN)/etcd CAIRN_TEST_ETCDCTL=$(BIN)/etcdctl CAIRN_TEST_ETCDUTL=$(BIN)/etcdutl go run ./test/stress -rounds $(or $(ROUNDS),1) $(or $(PACKAGES),./test/members ./test/cluster ./test/goclient ./internal/peer ./internal/http1)

hostile: build ## run each attack of test/hostile and the matrix of slow readers in full; takes an hour or two. Then make soak
	CAIRN_HOSTILE=full CAIRN_TEST_ETCD=$(BIN)/etcd go test -count 1 -timeout 3h -v ./test/hostile
	$(MAKE) soak

matrix: build ## run the matrix of slow readers, some 12 minutes, and print one table; AGAINST=/usr/bin/etcd attacks another etcd, CELLS='watch/.*/5000' runs some
	CAIRN_HOSTILE=matrix CAIRN_TEST_ETCD=$(or $(AGAINST),$(BIN)/etcd) $(if $(AGAINST),CAIRN_HOSTILE_FLAGS= CAIRN_TEST_ETCD_FLAGS=--enable-v2=true) \
		go test -count 1 -timeout 20m -v -run 'TestSlowReaders/$(CELLS)' ./test/hostile

soak: ## attack the peer ports, then the client ports, of clusters under load for MINUTES=n each (60), and check what clients saw
	@mkdir -p $(BIN)/tools
	go build -tags invariants -o $(BIN)/tools/ ./test/torture ./cmd/etcd
	$(BIN)/tools/torture -etcd $(BIN)/tools/etcd -minutes $(or $(MINUTES),60) $(SOAKFLAGS) -attack peer $(TORTUREFLAGS)
	$(BIN)/tools/torture -etcd $(BIN)/tools/etcd -minutes $(or $(MINUTES),60) $(SOAKFLAGS) -attack requests $(TORTUREFLAGS)

frames: ## the same attacks, on both ports at a time, for MINUTES=n (60) together
	@mkdir -p $(BIN)/tools
	go build -tags invariants -o $(BIN)/tools/ ./test/torture ./cmd/etcd
	$(BIN)/tools/torture -etcd $(BIN)/tools/etcd -minutes $(or $(MINUTES),60) $(SOAKFLAGS) -attack peer,requests $(TORTUREFLAGS)

kube: ## build bin/etcdctl-kube, which `etcdctl -w kube` runs to show Kubernetes' objects as YAML
	go -C test/k8s build -o $(BIN)/ ./etcdctl-kube

migrate: build ## move a running etcd of Debian into cairn under load, with 20 kills of the program that migrates
	CAIRN_MIGRATE=full CAIRN_TEST_ETCD=$(BIN)/etcd CAIRN_TEST_ETCDCTL=$(BIN)/etcdctl CAIRN_TEST_ETCDUTL=$(BIN)/etcdutl go test -count 1 -timeout 30m -v ./test/migrate

damage: ## change and cut snapshots, etcd's logs and the files of a member at random places, 1,000 or 100 in each: refused, or harmless
	CAIRN_DAMAGED_PLACES=1000 go test -count 1 -timeout 30m -v -run 'TestDamagedFiles|TestImportRefusesDamage|TestImportRefusesADamagedLog|TestDamagedDataDir' ./internal/backup

large: build ## import, verify, save, restore and export a store of MEGABYTES=n (5000); each command must take less than 300 MiB
	CAIRN_LARGE_STORE_MB=$(or $(MEGABYTES),5000) CAIRN_TEST_ETCD=$(BIN)/etcd CAIRN_TEST_ETCDCTL=$(BIN)/etcdctl CAIRN_TEST_ETCDUTL=$(BIN)/etcdutl go test -count 1 -timeout 3h -v -run TestLargeStore ./cmd/etcdutl

fuzz: ## run every fuzz target for FUZZTIME
	FUZZTIME=$(FUZZTIME) scripts/fuzz

lint: build ## gofumpt, go vet, golangci-lint, import layers, compatibility page, known vulnerabilities
	@unformatted=$$($$(scripts/tool $(GOFUMPT)) -l .); test -z "$$unformatted" || { echo "gofumpt -w would change:" >&2; echo "$$unformatted" >&2; exit 1; }
	go vet ./... && go -C test/k8s vet ./...
	$$(scripts/tool $(GOLANGCI)) run ./...
	go test ./internal/lint
	@scripts/vulns $(PROGRAMS:%=$(BIN)/%)

bench: build ## compare ours with Debian's etcd, run by run, on fresh directories; with CLUSTER=3, clusters of three
	@[ '$(THEIRS)' != /usr/bin/etcd ] || CI=true scripts/clients etcd-server
	$(BIN)/bench compare -ours $(BIN)/etcd -theirs $(THEIRS) $(if $(CLUSTER),-cluster) $(BENCHFLAGS)

bench-large: build ## many keys and a long history: puts' latency while filling, backing up, compacting; restart, reads; LARGEFLAGS
	$(BIN)/bench large -server $(BIN)/etcd -svg $(BIN)/large.svg -o markdown $(LARGEFLAGS)

bench-many: build ## many leases, watches and connections, and the puts' latency beside each; MANYFLAGS
	$(BIN)/bench many -server $(BIN)/etcd -svg $(BIN)/many.svg -o markdown $(MANYFLAGS)

man: build ## write the man pages to bin/share/man/man1
	scripts/manpages $(BIN) $(BIN)/share/man/man1

deps: ## update the dependencies within their major versions and the database of vulnerabilities, and tidy
	go get -u ./... && go mod tidy
	go -C test/k8s get -u ./... && go -C test/k8s mod tidy
	go -C test/coredns get -u ./... && go -C test/coredns mod tidy
	sed -i "s/VULNDB:-[^}]*/VULNDB:-$$(cd / && GOFLAGS= go list -m -f '{{.Version}}' golang.org/x/vulndb@latest)/" scripts/vulns

generate: ## run every go:generate directive
	@if grep -rqs --include='*.go' '^//go:generate ' .; then go generate ./...; else echo 'make generate: no //go:generate directive in any file, nothing to do'; fi
