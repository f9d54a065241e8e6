# What people and CI call. Everything works from a fresh checkout: what a target needs, it does first.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup build demo test test-long sim fuzz check bench clean

# Debug builds: the demo and the tests start seconds after a change.
export OVERLAY_BIN_DIR := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)/debug
# What is timed is optimized.
RELEASE := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)/release

# Labs need root; without it, only the tests themselves are run as root, never the build.
ifneq ($(shell id -u),0)
HOST := $(shell rustc -vV | sed -n 's/^host: //p' | tr a-z- A-Z_)
export CARGO_TARGET_$(HOST)_RUNNER := sudo --preserve-env=OVERLAY_BIN_DIR,OVERLAY_LAB_LOG
endif

# Of the managers' simulation; one that fails prints its seed.
SCHEDULES ?= 3000
# Of each fuzz target.
FUZZ_SECONDS ?= 20

SCRIPTS := .ci/run netns-scripts/demo.sh netns-scripts/lab.sh netns-scripts/lib.sh scripts/setup scripts/check-deps

help: ## Lists the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | column -t -s '|'

setup: ## Installs what building and testing need (quick when nothing is missing)
	@scripts/setup

build: setup ## Builds overlayd and overlayctl
	cargo build

demo: build ## Shows three nodes on this machine, one network, and traffic between them
	@netns-scripts/demo.sh

# They wait more than they work: labs for their nodes, most of all.
test: export RUST_TEST_THREADS := $(shell echo $$(($$(nproc) * 3 / 2)))
test: build ## Runs all tests, with labs of network namespaces (needs root)
	cargo test --no-fail-fast

test-long: build ## Runs the tests that take more than half a minute each (needs root)
	cargo build -p overlayd --features next-abi --bin overlayd-next
	cargo test --no-fail-fast -p overlay-netns --features long -- long --show-output

sim: setup ## Simulates 1,000 nodes' gossip, and SCHEDULES lives of managers whose disks and network fail
	cargo test --release -p overlayd --lib simulation::size::a_thousand_nodes -- --nocapture
	OVERLAY_SIM_SCHEDULES=$(SCHEDULES) \
	  cargo test --release -p overlayd --lib managers_lose_nothing -- --nocapture

fuzz: ## Runs each fuzz target for a while
	@scripts/setup fuzz
	for target in $$(ls tests/fuzz/corpus); do \
	  mkdir -p tests/fuzz/targets/corpus/$$target; \
	  cargo fuzz run -s none --fuzz-dir tests/fuzz/targets $$target \
	    tests/fuzz/targets/corpus/$$target tests/fuzz/corpus/$$target -- -max_total_time=$(FUZZ_SECONDS); \
	done

bench: setup ## Measures the overlay beside the bare underlay, as ratios in one run (needs root)
	cargo build --release -p overlay -p overlayd -p overlay-bench --bins
	OVERLAY_BIN_DIR=$(RELEASE) cargo run --quiet --release -p overlay-bench
	cargo run --quiet --release -p overlay-bench reconcile
	cargo run --quiet --release -p overlay-bench services
	cargo run --quiet --release -p overlay-bench intent
	cargo test --quiet --release -p overlayd --lib -- --nocapture --test-threads 1 \
	  manager::tests::fanout gossip::simulation::joiner

check: setup ## Checks format, lints, shell scripts, and who may depend on whom
	cargo fmt --all --check
	cargo clippy --all-targets --features overlay-netns/long -- -D warnings
	shellcheck -x $(SCRIPTS)
	scripts/check-deps

clean: ## Removes what was built
	cargo clean
