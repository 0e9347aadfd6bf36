# SPDX-License-Identifier: MPL-2.0

VERSION  ?= v0.0.0-dev
FUZZTIME ?= 30s
SOAK     ?= 15m
KILLS    ?= 200

plugin    := bin/vault-plugin-secrets-messaging
simulator := bin/messaging-simulator

# The race detector needs a working C compiler with its headers.
race = $(shell CGO_ENABLED=1 go build -race runtime/cgo >/dev/null 2>&1 && echo -race)

# Names the programs under test for the tests in acceptance/.
programs = vault=$$(scripts/vault) && export VAULT_BIN="$$vault" \
	PLUGIN_BIN="$(CURDIR)/$(plugin)" SIMULATOR_BIN="$(CURDIR)/$(simulator)"

run = $(if $(RUN),-run '$(RUN)')

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help build dev test lint unit acceptance test-openbao test-servers test-prometheus test-clients test-containers test-oauth test-kubernetes leaks kills soak bench fuzz outdated dist image clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile

build: ## build the plugin and the simulator into bin/ (VERSION=v1.2.3 sets the version)
	@echo "==> build $(VERSION)"
	@CGO_ENABLED=0 go build -trimpath -ldflags "-X main.version=$(VERSION)" -o bin/ ./cmd/...

dev: build ## run a dev server with the plugin and simulated providers, until Ctrl-C (SERVER=openbao)
	@scripts/dev

test: lint unit acceptance ## run everything that must pass: lint, unit tests and acceptance tests

lint: ## golangci-lint: format, vet, staticcheck and the rules of .golangci.yml
	@echo "==> golangci-lint (the first run builds it, which takes a few minutes)"
	@go tool -modfile=tools/lint/go.mod golangci-lint run

unit: ## run the unit tests, with the race detector if a C compiler works
	@race=$(race); \
	if [ -n "$$race" ]; then echo "==> unit tests, with the race detector"; \
	else echo "==> unit tests, without the race detector because no C compiler works"; fi; \
	promtool=$$(scripts/promtool) || true; \
	PROMTOOL_BIN="$$promtool" CGO_ENABLED=$${race:+1} go test $$race $$(go list ./... | grep -v /acceptance)

acceptance: build ## test the plugin in a real Vault server (RUN=Pattern runs only some tests)
	@echo "==> acceptance tests"
	@$(programs) && promtool=$$(scripts/promtool || true) && cd acceptance && \
	PROMTOOL_BIN="$$promtool" go test -count=1 -timeout=30m -parallel=6 $(run)

test-openbao: ## run the acceptance tests in a real OpenBao server, which needs Python with pip (RUN=Pattern)
	@$(MAKE) --no-print-directory acceptance SERVER=openbao

# Tests of the install, config writes, reads, the end of leases, rotates and upgrades.
smoke := ^(TestREADME|TestRevokeLease|TestUnsharedTokensEndWithTheirLeases|TestRotateReplacesTheToken|TestServerRestartsKeepTheToken|TestFailoverKeepsTheToken|TestUpgrade)$$

test-servers: build ## run the main acceptance tests in each server that README.md lists
	@servers=$$(scripts/servers) && for VAULT_BIN in $$servers; do export VAULT_BIN; $(programs) && \
	(cd acceptance && go test -count=1 -timeout=15m -run '$(smoke)') || exit; done

test-prometheus: ## scrape a mount with a real Prometheus, and see the alerts at a real Alertmanager
	@prometheus=$$(scripts/prometheus) && PROMETHEUS_DIR="$$prometheus" $(MAKE) --no-print-directory acceptance RUN='TestPrometheus$$'

test-containers: build ## run the plugin from an image, with a private Docker daemon (needs root)
	@docker=$$(scripts/docker) && DOCKER_DIR="$$docker" $(MAKE) --no-print-directory acceptance RUN='TestContainer$$'

test-clients: build ## test the plugin with other Vault clients, and the recipes in docs/recipes (RUN=Pattern)
	@echo "==> tests with Vault clients"
	@$(programs) && cd acceptance/clients && go test -count=1 -timeout=15m $(run)

test-oauth: build ## test the plugin with real authorization servers: Keycloak and oidc-provider (RUN=Pattern)
	@echo "==> tests with authorization servers"
	@$(programs) && { keycloak=$$(scripts/keycloak) || [ $$? = 3 ]; } && cd acceptance/oauth && \
	KEYCLOAK_HOME="$$keycloak" go test -count=1 -timeout=15m -parallel=16 $(run)

test-kubernetes: build ## test docs/recipes/kubernetes.md with a real API server and operators (RUN=Pattern)
	@echo "==> tests with Kubernetes"
	@$(programs) && kubernetes=$$(scripts/kubernetes) && cd acceptance/kubernetes && \
	KUBERNETES_PROGRAMS="$$kubernetes" go test -count=1 -v -timeout=30m -parallel=16 $(run)

leaks: build ## run only the leak test, and show its figures
	@$(programs) && cd acceptance && go test -count=1 -v -run 'TestNothingLeaks|TestLeakSearch'

kills: build ## kill the plugin KILLS (200) times while it exchanges refresh tokens, and show what was lost
	@$(programs) && cd acceptance && KILLS=$(KILLS) go test -count=1 -v -timeout=30m -run 'TestKills$$'

soak: build ## run the soak test in a real Vault server for SOAK (15m), and show its figures
	@$(programs) && cd acceptance && SOAK=$(SOAK) go test -count=1 -v -timeout=0 -run 'TestSoak$$'

bench: build ## measure the speed inside the process and in a real Vault server (RUN=Pattern for the server)
	@echo "==> inside the process: time, bytes and allocations of one operation"
	@go test -run '^$$' -bench . -benchmem . ./internal/tokencache ./providers | grep -v '^ok'
	@echo "==> in a real Vault server"
	@CGO_ENABLED=0 go build -trimpath -o bin/ ./acceptance/floor
	@$(programs) && cd acceptance/bench && \
	FLOOR_BIN="$(CURDIR)/bin/floor" go test -timeout=60m -run '^$$' -benchtime=1x -bench '$(or $(RUN),.)'

outdated: ## list the direct dependencies that have a newer version
	@go list -m -u -f '{{if and .Update (not .Indirect)}}{{.Path}} {{.Version}} → {{.Update.Version}}{{end}}' all

fuzz: ## run every fuzz target for FUZZTIME (30s)
	@FUZZTIME=$(FUZZTIME) scripts/fuzz

dist: ## build a release into dist/ (VERSION=v1.2.3, by default the tag of a clean checkout; SIGNING_KEY=key.pem signs it)
	@scripts/dist '$(if $(filter file,$(origin VERSION)),,$(VERSION))'

image: dist ## build a release, and container images of it without a container engine (VERSION=v1.2.3)
	@scripts/image '$(VERSION)'

clean: ## remove what was built, except the servers and clients in bin/ that take minutes to build
	rm -rf dist coverage.out $(plugin) $(simulator) bin/floor
