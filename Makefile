# CPU Cloud. Every target works from a fresh clone: it installs what it needs.

GOBUILD := CGO_ENABLED=0 go build -buildvcs=auto -trimpath -ldflags '-s -w'
TOOLS   := build/tools

FUZZTIME ?= 5s

.DEFAULT_GOAL := help
.PHONY: help deps deps-test low-ports build image demo run test test-postgres test-race test-net test-vm test-vm-full lint fuzz generate check \
	bench bench-agent bench-boot bench-idle bench-life bench-market bench-money gauges release clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps:
	@deploy/install-packages.sh deploy/packages deploy/image/demo/packages

deps-test: deps $(TOOLS)/versitygw
	@{ command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; } && which nft ip strace mkfs.xfs mkfs.btrfs >/dev/null && [ -x /lib/systemd/systemd ] || deploy/install-packages.sh deploy/packages-test

build: ## build bin/cpucloud
	@mkdir -p bin
	$(GOBUILD) -o bin/cpucloud ./cmd/cpucloud

image: deps ## build the small OS image into build/images
	@deploy/image/demo/build.sh build/images

low-ports:
	@deploy/allow-low-ports.sh

demo: deps low-ports build image ## deploy a real VM, log in, and take it down again
	@examples/demo.sh

run: deps low-ports build image ## start a cloud on this machine to play with
	bin/cpucloud up --images build/images

test: deps-test build image ## run every test: units on both databases, then real VMs
	.ci/with-postgres go test ./...
	$(MAKE) --no-print-directory test-net
	$(MAKE) --no-print-directory test-vm

test-postgres: deps-test ## run the tests of the store and its users on a private PostgreSQL
	.ci/with-postgres go test -count=1 ./internal/store/... ./internal/control/...

test-race: deps-test ## run the unit tests with the race detector
	.ci/with-postgres go test -race ./...

test-net: deps-test ## send real packets past the routed network's rules, in network namespaces (by sudo, if not root)
	go test -count=1 -tags net -timeout 5m -exec "$$([ "$$(id -u)" = 0 ] || echo sudo)" ./internal/network/...

test-vm: deps-test low-ports build image ## run the tests that boot real VMs
	go test -count=1 -tags vm -timeout 15m ./internal/vmtest/...

test-vm-full: deps low-ports build ## boot a Debian with real cloud-init (takes minutes)
	@deploy/install-packages.sh deploy/image/debian/packages
	@deploy/image/debian/build.sh build/images
	go test -count=1 -tags vmfull -timeout 30m -v ./internal/vmtest/...

$(TOOLS)/golangci-lint: tools/go.mod tools/go.sum
	@mkdir -p $(TOOLS)
	cd tools && go build -o ../$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

$(TOOLS)/versitygw: tools/versitygw/go.mod tools/versitygw/go.sum
	@mkdir -p $(TOOLS)
	cd tools/versitygw && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o ../../$@ github.com/versity/versitygw/cmd/versitygw

lint: $(TOOLS)/golangci-lint ## check style and import rules
	$(TOOLS)/golangci-lint run --build-tags vm,vmfull,net ./...

fuzz: deps ## throw bytes at all that reads what strangers made, FUZZTIME=5s at each
	@deploy/fuzz.sh $(FUZZTIME)

generate: ## write the generated files: the API document
	go test ./internal/api -run TestDocument -update

check: lint ## what CI runs
	$(MAKE) --no-print-directory generate
	@git diff --exit-code -- api || { echo 'error: api/ differs from what the code gives; commit the output of make generate' >&2; exit 1; }
	$(MAKE) --no-print-directory test

bench: bench-agent bench-boot bench-idle bench-life bench-market bench-money ## run every bench

bench-agent: deps deps-test build image ## what a server's agent adds to its VMs: starts, streams, ports, memory; as root
	go run ./bench/agent

bench-boot: deps low-ports build image ## time from POST to SSH against a bare QEMU, and of the answer to POST
	go run ./bench/boot

bench-idle: deps low-ports build image ## memory and CPU at rest
	go run ./bench/idle

bench-life: deps low-ports build image ## what is done to a VM in its life: reboots against a bare guest's, the console
	go run ./bench/life

bench-market: deps-test build ## searching and placing on up to 1,000,000 servers, against the least they can cost
	go run ./bench/market

bench-money: deps-test build ## billing 1,000,000 VMs, answering meanwhile, checking the ledger, being killed in the middle
	go run ./bench/money

gauges: ## report sizes of files and functions, import depth, tests per line
	@cd tools && go run ./gauges ..

release: ## build bin/cpucloud-linux-amd64 and its checksum
	@mkdir -p bin
	GOOS=linux GOARCH=amd64 $(GOBUILD) -o bin/cpucloud-linux-amd64 ./cmd/cpucloud
	cd bin && sha256sum cpucloud-linux-amd64 > cpucloud-linux-amd64.sha256

clean: ## remove what was built
	rm -rf bin build
