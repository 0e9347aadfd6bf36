# SPDX-License-Identifier: MPL-2.0

# make help says what there is to make.

VERSION  ?= v0.0.0-dev
FUZZTIME ?= 30s
SOAK     ?= 15m

plugin    := bin/vault-plugin-secrets-messaging
simulator := bin/messaging-simulator
lint      := go tool -modfile=tools/lint/go.mod

# The race detector needs a C compiler that works, headers and all.
race = $(shell CGO_ENABLED=1 go build -race runtime/cgo >/dev/null 2>&1 && echo -race)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help build dev test lint fmt vet staticcheck unit acceptance test-clients test-keycloak leaks soak bench fuzz dist clean

help: ## what there is to make (this)
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

build: ## the plugin and the simulator, into bin/ (VERSION=v1.2.3 to name a release)
	@echo "==> build $(VERSION)"
	@CGO_ENABLED=0 go build -trimpath -ldflags "-X main.version=$(VERSION)" -o bin/ ./cmd/...

dev: build ## a Vault of your own with the plugin, a provider to try it on, until Ctrl-C
	@scripts/dev

test: lint unit acceptance ## all that must pass: lint, unit tests, acceptance tests

lint: fmt vet staticcheck ## format, vet and staticcheck

fmt:
	@echo "==> gofmt"
	@files=$$(gofmt -l .) && [ -z "$$files" ] || { echo "not formatted (run gofmt -w):" $$files; exit 1; }

vet:
	@echo "==> go vet"
	@go vet ./...

staticcheck:
	@echo "==> staticcheck"
	@$(lint) staticcheck ./...

unit: ## unit tests, with the race detector where there is a C compiler
	@race=$(race); \
	if [ -n "$$race" ]; then echo "==> unit tests, with the race detector"; \
	else echo "==> unit tests, without the race detector: it needs a C compiler, and none here works"; fi; \
	promtool=$$(scripts/promtool) || true; \
	PROMTOOL_BIN="$$promtool" CGO_ENABLED=$${race:+1} go test $$race $$(go list ./... | grep -v /acceptance)

acceptance: build ## tests of the built plugin in a real Vault server (RUN=Pattern for some)
	@echo "==> acceptance tests"
	@vault=$$(scripts/vault) && promtool=$$(scripts/promtool || true) && cd acceptance && \
	PROMTOOL_BIN="$$promtool" VAULT_BIN="$$vault" PLUGIN_BIN="$(CURDIR)/$(plugin)" SIMULATOR_BIN="$(CURDIR)/$(simulator)" \
	go test -count=1 -timeout=30m $(if $(RUN),-run '$(RUN)')

test-clients: build ## vault/api, node-vault, hvac, and the programs of docs/recipes (RUN=Pattern for some)
	@echo "==> real clients"
	@vault=$$(scripts/vault) && cd acceptance/clients && \
	VAULT_BIN="$$vault" PLUGIN_BIN="$(CURDIR)/$(plugin)" SIMULATOR_BIN="$(CURDIR)/$(simulator)" \
	go test -count=1 -timeout=15m $(if $(RUN),-run '$(RUN)')

test-keycloak: build ## a real Keycloak, the server behind Sinch India; needs Java and Maven (RUN=Pattern for some)
	@echo "==> a real Keycloak"
	@vault=$$(scripts/vault) && keycloak=$$(scripts/keycloak) && cd acceptance/keycloak && \
	VAULT_BIN="$$vault" PLUGIN_BIN="$(CURDIR)/$(plugin)" SIMULATOR_BIN="$(CURDIR)/$(simulator)" KEYCLOAK_HOME="$$keycloak" \
	go test -count=1 -timeout=15m $(if $(RUN),-run '$(RUN)')

leaks: build ## the leak test alone, with its figures
	@vault=$$(scripts/vault) && cd acceptance && \
	VAULT_BIN="$$vault" PLUGIN_BIN="$(CURDIR)/$(plugin)" SIMULATOR_BIN="$(CURDIR)/$(simulator)" \
	go test -count=1 -v -run 'TestNothingLeaks|TestLeakSearch'

soak: build ## everything at once in a real Vault for SOAK (15m), with its figures
	@vault=$$(scripts/vault) && cd acceptance && \
	SOAK=$(SOAK) VAULT_BIN="$$vault" PLUGIN_BIN="$(CURDIR)/$(plugin)" SIMULATOR_BIN="$(CURDIR)/$(simulator)" \
	go test -count=1 -v -timeout=0 -run 'TestSoak$$'

bench: build ## speed: in the process, and in a real Vault beside a plugin that answers with a constant
	@echo "==> inside the process: time, bytes and allocations of one operation"
	@go test -run '^$$' -bench . -benchmem . ./internal/tokencache ./providers | grep -v '^ok'
	@echo "==> in a real Vault server"
	@CGO_ENABLED=0 go build -trimpath -o bin/ ./acceptance/floor
	@vault=$$(scripts/vault) && cd acceptance/bench && \
	VAULT_BIN="$$vault" PLUGIN_BIN="$(CURDIR)/$(plugin)" SIMULATOR_BIN="$(CURDIR)/$(simulator)" FLOOR_BIN="$(CURDIR)/bin/floor" \
	go test -count=1 -timeout=60m $(if $(RUN),-run '$(RUN)')

fuzz: ## every fuzz target, FUZZTIME (30s) each
	@FUZZTIME=$(FUZZTIME) scripts/fuzz

dist: ## release binaries, SHA256SUMS and SBOMs into dist/ (VERSION=v1.2.3; else the tag of a clean checkout)
	@scripts/dist '$(if $(filter file,$(origin VERSION)),,$(VERSION))'

clean: ## remove what was built, but for the servers and clients in bin/ that take minutes to have again
	rm -rf dist coverage.out $(plugin) $(simulator) bin/floor
