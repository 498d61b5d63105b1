GO ?= go
FUZZTIME ?= 30s
AGENTS ?=
CROSS_TAGS ?=

STATICCHECK_VERSION := v0.8.2
TOOLS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/offsite-tools
STATICCHECK := $(TOOLS)/staticcheck-$(STATICCHECK_VERSION)
MINIO_VERSION := v0.0.0-20260212201848-7aac2a2c5b7c
MINIO := $(TOOLS)/minio-$(MINIO_VERSION)
AZURITE_VERSION := 3.37.0
AZURITE := $(TOOLS)/azurite-$(AZURITE_VERSION)
FAKE_GCS_SERVER_VERSION := v1.56.1
FAKE_GCS_SERVER := $(TOOLS)/fake-gcs-server-$(FAKE_GCS_SERVER_VERSION)
RCLONE_VERSION := v1.76.0
RCLONE := $(TOOLS)/rclone-$(RCLONE_VERSION)

LINKABLE := $(patsubst cmd/offsite/agent_%.go,%,$(wildcard cmd/offsite/agent_*.go))
UNKNOWN := $(filter-out $(LINKABLE),$(AGENTS))
comma := ,
empty :=
TAGS := $(subst $(empty) ,$(comma),$(strip $(if $(AGENTS),slim $(AGENTS:%=agent_%))))

.PHONY: help build tools sshd test suites check fuzz bench resume crash fmt vet staticcheck

help:
	@echo 'make build   writes ./offsite; AGENTS="local" links those alone (known: $(LINKABLE))'
	@echo 'make tools   builds the servers that tests run against, into $(TOOLS), and installs sshd; minutes, once'
	@echo 'make test    all tests, with the race detector; a tool that one needs and does not find is an error'
	@echo 'make suites  the agents, with every case of the suite tried as often as it can be'
	@echo 'make check   gofmt, go vet for linux, darwin and windows, staticcheck'
	@echo 'make crash   the runs that are killed, at 60 moments besides those of the ledger'
	@echo 'make resume  the uploads that are killed, with MIB=2048 each'
	@echo 'make bench   how fast it is, beside other programs; minutes'
	@echo 'make fuzz    each fuzz test for FUZZTIME=$(FUZZTIME)'

build:
	$(if $(UNKNOWN),$(error AGENTS: no agent $(UNKNOWN); known are $(LINKABLE)))
	$(GO) build -trimpath $(if $(TAGS),-tags $(TAGS)) -o offsite ./cmd/offsite

# CI tells the tests that this machine has what they need: what is missing is then a
# failure, not a skip. At real servers the suite tries each case fewer times; make suites
# does all of it. What takes longest comes first: the tests of the program, which know
# nothing of -short, wait more than they compute.
BRIEF := ./cmd/offsite ./agents/gcs ./agents/sftp ./agents/azure ./agents/s3
test: tools
	CI=true $(GO) test -race -count=1 -p=3 -short -timeout=40m $(BRIEF)
	CI=true $(GO) test -race -count=1 -p=3 -timeout=40m ./conformance/reference $$($(GO) list ./... | grep -v $(patsubst .%,-e '%$$',$(BRIEF) ./conformance/reference))

suites: tools
	CI=true $(GO) test -race -count=1 -p=1 -timeout=40m ./agents/...

# make test kills smaller ones.
resume: tools
	CI=true OFFSITE_RESUME_MIB=$(or $(MIB),2048) $(GO) test -count=1 -timeout=60m -v -run='^TestResume(Local)?$$' ./cmd/offsite

crash: tools
	CI=true OFFSITE_CRASH_POINTS=60 $(GO) test -count=1 -timeout=20m -v -run='^TestCrash$$' ./cmd/offsite

# On a machine that does nothing else. TREE is a folder to send to several places at
# once; without it one is made, of source.
bench: build $(MINIO) $(AZURITE) $(RCLONE)
	$(GO) run ./bench -offsite ./offsite -rclone $(RCLONE) $(if $(TREE),-tree $(TREE),-tree-mib 725)

check: fmt vet staticcheck

fmt:
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "gofmt -w these:"; echo "$$unformatted"; exit 1; }

# CROSS_TAGS are build tags for the systems that this is not.
vet:
	GOOS=linux $(GO) vet ./...
	GOOS=darwin $(GO) vet $(if $(CROSS_TAGS),-tags $(CROSS_TAGS)) ./...
	GOOS=windows $(GO) vet $(if $(CROSS_TAGS),-tags $(CROSS_TAGS)) ./...

staticcheck: $(STATICCHECK)
	$(STATICCHECK) ./...

tools: sshd $(MINIO) $(AZURITE) $(FAKE_GCS_SERVER)

# OpenSSH's server comes with the system. As root on Debian it is installed, and kept
# from being started for everybody.
sshd:
	@PATH=$$PATH:/usr/sbin:/usr/local/sbin command -v sshd >/dev/null || { \
		test "$$(id -u)" = 0 && command -v apt-get >/dev/null || { echo 'install openssh-server: tests run against its sshd' >&2; exit 1; }; \
		export DEBIAN_FRONTEND=noninteractive; policy=/usr/sbin/policy-rc.d; \
		test -e $$policy && policy= || { printf '#!/bin/sh\nexit 101\n' >$$policy && chmod 755 $$policy; }; \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends openssh-server; code=$$?; \
		test -z "$$policy" || rm -f $$policy; exit $$code; }

$(MINIO):
	$(call install,github.com/minio/minio@$(MINIO_VERSION))

# A program of Node.js, which is no file but a folder.
$(AZURITE):
	rm -rf $@.new && npm install --silent --no-audit --no-fund --prefix $@.new azurite@$(AZURITE_VERSION) && mv $@.new $@

$(FAKE_GCS_SERVER):
	$(call install,github.com/fsouza/fake-gcs-server@$(FAKE_GCS_SERVER_VERSION))

$(STATICCHECK):
	$(call install,honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK_VERSION))

$(RCLONE):
	$(call install,github.com/rclone/rclone@$(RCLONE_VERSION))

# A program gets its name, which has its version, when it is whole.
install = mkdir -p $@.new && GOBIN=$@.new GOOS= GOFLAGS=-trimpath $(GO) install $(1) && mv $@.new/* $@ && rmdir $@.new

# go test takes one fuzz test of one package at a time.
fuzz:
	@grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | sed 's|/[^/]*:func | |' | sort | \
	while read -r dir name; do \
		echo "$$dir $$name"; \
		$(GO) test -run='^$$' -fuzz="^$$name\$$" -fuzztime=$(FUZZTIME) -fuzzminimizetime=20x "$$dir" </dev/null || exit 1; \
	done
