# `make` alone lists the verbs. Everything runs from a fresh clone: `setup` installs what is missing.

SHELL := /bin/bash
.DEFAULT_GOAL := help
export SWIFT_BACKTRACE := enable=no

RELEASE := .build/release/weir
CONFIG ?= configs/quickstart.yaml
FUZZ_SECONDS ?= 20
SEEDS ?= 200
BENCH ?=
DRILL ?=
FLOODS ?=

.PHONY: help setup build release run test unit e2e check lint configs docs-check costs format \
	golden docs fuzz asan tsan bench-setup bench decisions drill floods sweep plots plots-check clean

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install the Debian packages that building, running and testing need
	@.ci/setup

build: setup ## build everything for debugging
	swift build

release: setup ## build the release binaries
	swift build -c release --static-swift-stdlib --product weir
	swift build -c release --static-swift-stdlib --product weir-origin

run: release ## run weir with CONFIG (the quickstart) before sample origins; Ctrl-C stops all
	@Tests/quickstart.sh $(CONFIG)

test: unit e2e ## build and pass every test

unit: build ## unit, property, golden and tidy tests
	swift test

e2e: build ## the real binary against real programs
	Tests/EndToEnd/run.sh none

check: lint configs docs-check costs sweep plots-check fuzz asan tsan ## everything CI demands beyond `make test`

lint: setup ## formatting and warnings
	swift format lint --strict --recursive Package.swift Sources Tests

configs: build ## check every shipped configuration, and simulate its governors
	@for file in configs/*.yaml; do \
		.build/debug/weir check $$file || exit 1; \
		for scenario in priority-surge noisy-neighbour slow-endpoint; do \
			.build/debug/weir simulate --config $$file --scenario $$scenario > /dev/null \
				|| { echo "$$file breaks an invariant in $$scenario"; exit 1; }; \
		done; \
	done

docs-check: build ## the configuration reference is the schema's
	@.build/debug/weir help config | diff - docs/configuration.md \
		|| { echo "docs/configuration.md is not the schema's: run 'make docs'"; exit 1; }

costs: release ## instructions, allocations and idle memory stay within their thresholds
	Tests/Bench/check_costs.py --bin $(RELEASE)
	@! strings $(RELEASE) | grep -q 'libFoundation' || { echo "Foundation is linked"; exit 1; }

sweep: release ## SEEDS random worlds and policies against the governors' invariants
	$(RELEASE) simulate --sweep $(SEEDS)

format: ## format all Swift sources
	swift format format --in-place --recursive Package.swift Sources Tests

golden: ## rewrite the golden files; review the difference
	WEIR_GOLDEN=rewrite swift test --filter WeirConfigTests

docs: build ## rewrite the generated pages
	.build/debug/weir help config > docs/configuration.md

plots: release ## rewrite the simulated plots of docs/policies
	Tests/plots.sh docs/policies/plots

plots-check: release ## the plots are those of this code
	@Tests/plots.sh .build/plots && diff -r .build/plots docs/policies/plots > /dev/null \
		|| { echo "docs/policies/plots is not what the simulator draws: run 'make plots'"; exit 1; }

fuzz: setup ## fuzz each target for FUZZ_SECONDS
	Tests/Fuzz/run.sh $(FUZZ_SECONDS)

asan: setup ## the end-to-end suite under AddressSanitizer
	Tests/EndToEnd/run.sh address

tsan: setup ## the end-to-end suite under ThreadSanitizer, with several workers
	Tests/EndToEnd/run.sh thread

bench-setup: setup ## install the programs to compare with
	Tests/Bench/setup.sh

bench: release bench-setup ## compare with nginx, HAProxy and Envoy; BENCH="--write docs/benchmarks.md"
	Tests/Bench/bench.py $(BENCH)

decisions: setup ## what the governors' decisions cost by themselves, and threads that share them
	swift build -c release --static-swift-stdlib --product weir-decisions
	.build/release/weir-decisions

drill: release bench-setup ## overload drills beside the best of nginx, HAProxy, Envoy; DRILL="--only O1,O2"
	Tests/Drill/drill.py $(DRILL)

floods: release bench-setup ## attacks beside a well-behaved client; FLOODS="--write docs/floods.md"
	Tests/Bench/floods.py $(FLOODS)

clean: ## remove what was built
	rm -rf .build
