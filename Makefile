# Each target is one command; the work is cargo's. `make demo DIR=/some/text/files` chooses other files.

# How long the first build takes: RocksDB is compiled from source, once.
FIRST_BUILD = about 15 minutes on two cores

.PHONY: demo test bench bench-long torture interleavings planted mutants coverage fuzz setup

# A research pipeline is killed with SIGKILL part-way, started again, and goes on where it was.
demo: setup
	@cargo run -p relive-examples -- $(if $(DIR),"$$DIR")

test: setup
	cargo test --workspace
	$(MAKE) interleavings

# The engine's threads in many orders, drawn by a scheduler in place of the system's: group commit, mailboxes, runs that sleep
# and wake. And that it finds bugs that are planted. COUNT=20000 of each scenario take minutes.
INTERLEAVED = cargo test -p relive-engine --lib --features shuttle,planted-faults -- interleavings
interleavings: setup
	$(if $(COUNT),RELIVE_INTERLEAVINGS=$(COUNT)) $(INTERLEAVED)

# Relive beside the disk's own fdatasync, a bare RocksDB, and other engines in files of theirs (PEERS= for without these).
# Compiles RocksDB once more, optimized.
PEERS = yes
PEERS_DIR = $(or $(CARGO_TARGET_DIR),target)/peers
bench: setup
	$(if $(PEERS),CARGO_TARGET_DIR="$(PEERS_DIR)" cargo build --release --manifest-path benches/peers/Cargo.toml)
	cargo run --release -p relive-benches -- $(if $(PEERS),--peers "$(PEERS_DIR)/release/relive-peers")

# The same as a store grows to GIGABYTES (10), in DIR: takes half an hour to an hour on two cores, and half as much space again
# and 2 GB. What is known so far it tells on the way. If it is interrupted it leaves relive-bench-* there.
bench-long: setup
	cargo run --release -p relive-benches -- --only growth --gigabytes $(or $(GIGABYTES),10) --dir "$(or $(DIR),.)"

# Every part of the fault campaign, shortly; or one part: kill, power, calls, errors, corruption, laws. How far it goes is in
# ARGS, as `torture PART --help` says; of kill and power also KILLS=5000 or SECONDS=600.
TORTURE_PART = $(or $(PART),$(if $(KILLS)$(SECONDS),kill))
# Without optimization most of the time is this code's, not the faults'. RocksDB and what it depends on are left as they are, so
# that it is not compiled once more; checks of arithmetic and assertions stay.
TORTURE_CRATES = relive-engine relive-storage relive relive-cli relive-tests tokio serde serde_core serde_json rmp rmp-serde \
	bincode crossbeam-channel parking_lot futures-util
TORTURE_CONFIG = $(foreach crate,$(TORTURE_CRATES),--config profile.dev.package.$(crate).opt-level=1)
torture: setup
	cargo run $(TORTURE_CONFIG) -p relive-tests --bin torture -- $(TORTURE_PART) $(if $(SECONDS),--seconds $(SECONDS),$(if $(KILLS),--kills $(KILLS))) $(ARGS)

# Plants bugs in Relive, one after the other, and sees that the campaign finds each.
planted: setup
	cargo run $(TORTURE_CONFIG) -p relive-tests --features planted-faults --bin torture -- planted

# Changes what decides without I/O, a place at a time (`.cargo/mutants.toml`), and sees that a test notices. Takes hours; needs
# `cargo install cargo-mutants`. What nobody notices is in mutants.out/missed.txt.
mutants: setup
	cargo mutants -p relive-engine -p relive-storage $(ARGS)

# Which branches of the engine its unit tests and the interleavings take. Needs the tools of the LLVM that rustc has, with their
# suffix in LLVM: `make coverage LLVM=-22`.
COVERAGE_DIR = $(or $(CARGO_TARGET_DIR),target)/coverage
COVERED = RUSTC_WORKSPACE_WRAPPER="$(CURDIR)/.ci/covered" LLVM_PROFILE_FILE="$(COVERAGE_DIR)/%p-%m.profraw"
coverage: setup
	rm -rf "$(COVERAGE_DIR)" && mkdir -p "$(COVERAGE_DIR)"
	$(COVERED) cargo test -p relive-engine --lib 2>&1 | tee "$(COVERAGE_DIR)/units"
	$(COVERED) $(INTERLEAVED) --skip planted 2>&1 | tee "$(COVERAGE_DIR)/interleaved"
	llvm-profdata$(LLVM) merge -sparse "$(COVERAGE_DIR)"/*.profraw -o "$(COVERAGE_DIR)/profile"
	llvm-cov$(LLVM) report -instr-profile "$(COVERAGE_DIR)/profile" -ignore-filename-regex '/tests|interleavings' \
		$$(sed -n 's/.*unittests.*(\(.*\))/-object \1/p' "$(COVERAGE_DIR)/units" "$(COVERAGE_DIR)/interleaved")

# Hostile bytes, guided by coverage: TARGET=record, payload, id, export, rows or engine, for SECONDS. What it finds of
# interest it keeps in the corpus, which later runs begin with.
FUZZ_DIR = $(or $(CARGO_TARGET_DIR),target)/fuzz
FUZZ_FLAGS = -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
	-Cllvm-args=-sanitizer-coverage-trace-compares
fuzz: setup
	mkdir -p "$(FUZZ_DIR)/corpus/$(or $(TARGET),record)"
	RUSTFLAGS="$(FUZZ_FLAGS)" CARGO_TARGET_DIR="$(FUZZ_DIR)" cargo run --release --manifest-path tests/fuzz/Cargo.toml \
		--target $$(rustc -vV | sed -n 's/^host: //p') --bin $(or $(TARGET),record) -- \
		-max_total_time=$(or $(SECONDS),60) -rss_limit_mb=1024 "$(FUZZ_DIR)/corpus/$(or $(TARGET),record)"

# What a build needs besides Rust: installed where that can be done without asking, else named.
setup: export FIRST_BUILD := $(FIRST_BUILD)
setup:
	@sh .ci/setup

export DIR
