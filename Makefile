# Everything that is done often. `make` alone lists it.

GO          ?= go
FUZZTIME    ?= 30s
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

# What the tests need of the system: programs, each with the package of Debian
# that brings it. Debian keeps the server of PostgreSQL out of PATH, and pcscd out of
# that of ordinary users.
PROGRAMS = redis-server=redis-server redis-cli=redis-tools chromium=chromium firefox-esr=firefox-esr node=nodejs npm=npm nginx=nginx-light initdb=postgresql xmllint=libxml2-utils pcscd=pcscd pkg-config=pkg-config
# Libraries by the names of pkg-config, and files.
LIBRARIES = libpcsclite=libpcsclite-dev
FILES = /usr/lib/pcsc/drivers/serial/libifdvpcd.so=vsmartcard-vpcd

# What reaches card readers has this build tag, and links libpcsclite.
CARDS = -tags pcsc
CARDPACKAGES = ./samgateway/pcsc ./cmd/samgateway
# What has run without the tag already, and takes seconds.
WITHOUTREADERS = QuickStart|Secret

# The benchmarks are a module of their own. These are its packages that compile
# neither Caddy nor the stores that are compared; make lint looks at the others.
BENCHPACKAGES = . ./gobench ./load ./process ./report ./stats

# The most that the tests of one package may take. Those of the broker run on
# SQLite and on PostgreSQL, beside those of other packages: about twenty minutes
# under the race detector on two processors. The first run compiles Caddy for
# minutes; that is not counted.
TESTTIME    ?= 45m

# Collecting garbage half as often takes memory that a machine for tests has. Under the
# race detector a process waits for a second when it ends, in case that something races
# still: the tests end hundreds, and a tenth will do.
TESTENV     ?= GOGC=200 GORACE=atexit_sleep_ms=100

# The race detector, but for SQLite, which is translated from C and has locks of its
# own, for compression and for the arithmetic of curves: that is most of the time, and
# nothing of it is shared with our code. No package that instantiates generic functions
# may stand here (docs/decisions/67-tests-in-time.md). checkptr, which comes along, is
# for unsafe code, and what was translated from C is little else.
RACE = -race \
	-gcflags=modernc.org/sqlite=-d=checkptr=0 \
	-gcflags=modernc.org/libc/...=-d=checkptr=0 \
	-gcflags=modernc.org/sqlite/lib=-race=false \
	-gcflags=compress/flate=-race=false \
	-gcflags=hash/adler32=-race=false \
	-gcflags=crypto/internal/fips140/edwards25519/...=-race=false \
	-gcflags=crypto/internal/fips140/nistec/...=-race=false \
	-gcflags=crypto/internal/fips140/bigmod=-race=false

GOFILES = find . -name '*.go' -not -path '*/node_modules/*' -not -path './.git/*'

.DEFAULT_GOAL := help
.PHONY: help build gateway test tools format vet racebinary lint vectors fuzz bench bench-full microbench simulate demo clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build bin/payword, in pure Go
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/payword ./cmd/payword

gateway: ## build bin/samgateway, which reaches card readers (needs cgo and libpcsclite-dev)
	CGO_ENABLED=1 $(GO) build -trimpath $(CARDS) -o bin/samgateway ./cmd/samgateway

test: tools format vet ## check everything: format, vet, all tests under the race detector
	@echo '== go test -race (the first run compiles Caddy, which takes minutes)'
	$(TESTENV) $(GO) test $(RACE) -vet=off -timeout $(TESTTIME) ./...
	@echo '== go test -race with card readers'
	$(TESTENV) $(GO) test $(RACE) -vet=off $(CARDS) -skip '$(WITHOUTREADERS)' $(CARDPACKAGES)
	@echo '== 20,000 payments and loads with torn cards, which the race detector would make ten times as slow'
	$(GO) test -vet=off -run TestEveryCentAfterTears ./samgateway/terminal -rounds 20000
	@echo "== the benchmarks' own parts"
	cd bench && $(GO) test $(RACE) $(BENCHPACKAGES)
	@echo '== the JavaScript client and the extension, in Node, Chromium and Firefox'
	cd client-js && npm test --silent

tools: ## install what the tests need, or say what is missing
	@echo '== looking for what the tests need'
	@command -v $(GO) >/dev/null || { \
		echo 'missing: go. Install Go as go.mod asks for it, from https://go.dev/dl/.' >&2; exit 1; }
	@cc="$$($(GO) env CC)"; command -v $${cc%% *} >/dev/null || { \
		echo "missing: the C compiler $$cc, which the race detector links with." >&2; \
		echo 'On Debian: apt-get install gcc libc6-dev. Without it: go test ./...' >&2; exit 1; }
	@PATH="$$PATH:/usr/sbin:$$(echo /usr/lib/postgresql/*/bin | tr ' ' :)"; \
	missing=; packages=; add() { missing="$$missing $${1%%=*}"; packages="$$packages $${1#*=}"; }; \
	for pair in $(PROGRAMS); do command -v $${pair%%=*} >/dev/null || add $$pair; done; \
	for pair in $(LIBRARIES); do pkg-config --exists $${pair%%=*} 2>/dev/null || add $$pair; done; \
	for pair in $(FILES); do test -e $${pair%%=*} || add $$pair; done; \
	if test -z "$$missing"; then :; \
	elif test "$$(id -u)" = 0 && command -v apt-get >/dev/null; then \
		echo "== installing$$packages"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$packages; \
	else \
		echo "missing:$$missing. On Debian: apt-get install$$packages;" >&2; \
		echo 'elsewhere Redis 7 or newer (or Valkey under that name), PostgreSQL 14 or newer, Chromium, Firefox ESR, nginx, xmllint of libxml2 and Node 20 or newer, found in PATH, pcscd, and libpcsclite and vsmartcard with their files.' >&2; exit 1; \
	fi
	@cd internal/browsertest/browser && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@cd client-js && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error

format: # fails if gofmt would change a file
	@echo '== gofmt'
	@changed="$$($(GOFILES) -print0 | xargs -0 gofmt -l)" && test -z "$$changed" || { \
		printf 'not formatted; run gofmt -w on:\n%s\n' "$$changed" >&2; exit 1; }

# With $(RACE), so that what vet compiles is what the tests use.
vet:
	@echo '== go vet'
	$(GO) vet $(RACE) ./...
	$(GO) vet $(RACE) $(CARDS) $(CARDPACKAGES)

racebinary: # builds $(BINARY), the program that the tests of client-js start
	$(GO) build $(RACE) -o $(BINARY) ./cmd/payword

lint: tools format vet ## format, vet and staticcheck
	@echo '== staticcheck'
	$(GO) run $(STATICCHECK) ./...
	$(GO) run $(STATICCHECK) $(CARDS) $(CARDPACKAGES)
	@echo '== the benchmarks'
	cd bench && $(GO) vet ./... && $(GO) run $(STATICCHECK) ./... && $(GO) test ./stores

vectors: ## write testdata/vectors again from its fixed seeds
	$(GO) run ./internal/vectors
	$(GO) test ./clearing/statement -run TestVectorsAreFresh -count=1 -write-vectors

fuzz: ## run each fuzz target for FUZZTIME (30s)
	@targets="$$(grep -rn --include='*_test.go' '^func Fuzz' . | sed -E 's|^(.*)/[^/]*:[0-9]+:func (Fuzz[A-Za-z0-9_]*).*|\1 \2|')"; \
	test -n "$$targets" || { echo 'no fuzz target found' >&2; exit 1; }; \
	echo "$$targets" | while read -r folder target; do \
		echo "== $$folder $$target"; \
		$(GO) test $(CARDS) -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$folder" || exit 1; \
	done

bench: ## measure all that is quick beside what it is compared with, about two minutes (report in bench/out)
	cd bench && $(GO) run .

bench-full: ## measure everything, and for longer, about thirty minutes
	cd bench && $(GO) run . -full

microbench: ## run the Go benchmarks of the protocol, the gate, the ledger and the broker
	$(GO) test -run '^$$' -bench . -benchmem . ./caddymodule ./internal/ledger ./broker

simulate: ## a hundredth of a broker's day with a million users, on SQLite and on PostgreSQL (takes minutes, and 3 GB in /tmp)
	@folder="$$(mktemp -d)"; trap 'rm -rf "$$folder"' EXIT; \
	$(GO) run ./internal/simulation -database "$$folder/day.db" && \
	$(GO) run ./internal/simulation -database postgres && \
	$(GO) run ./internal/simulation -database postgres -brokers 2

demo: ## run a broker, a gate and a wallet on this machine, and pay
	$(GO) run ./cmd/payword demo

clean: ## remove what was built
	rm -rf bin
