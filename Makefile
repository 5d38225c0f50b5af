# Each target is one command; the work is cargo's. `make demo DIR=/some/text/files` chooses other files.

# How long the first build takes: RocksDB is compiled from source, once.
FIRST_BUILD = about 15 minutes on two cores

.PHONY: demo test bench torture planted setup

# A research pipeline is killed with SIGKILL part-way, started again, and goes on where it was.
demo: setup
	@cargo run -p relive-examples -- $(if $(DIR),"$$DIR")

test: setup
	cargo test --workspace

# Relive beside the disk's own fdatasync, a bare RocksDB, and other engines in files of theirs (PEERS= for without these).
# Compiles RocksDB once more, optimized.
PEERS = yes
PEERS_DIR = $(or $(CARGO_TARGET_DIR),target)/peers
bench: setup
	$(if $(PEERS),CARGO_TARGET_DIR="$(PEERS_DIR)" cargo build --release --manifest-path benches/peers/Cargo.toml)
	cargo run --release -p relive-benches -- $(if $(PEERS),--peers "$(PEERS_DIR)/release/relive-peers")

# Every part of the fault campaign, shortly; or one part: kill, power, calls, errors, corruption, laws. How far it goes is in
# ARGS, as `torture PART --help` says; of kill and power also KILLS=5000 or SECONDS=600.
TORTURE_PART = $(or $(PART),$(if $(KILLS)$(SECONDS),kill))
torture: setup
	cargo run -p relive-tests --bin torture -- $(TORTURE_PART) $(if $(SECONDS),--seconds $(SECONDS),$(if $(KILLS),--kills $(KILLS))) $(ARGS)

# Plants bugs in Relive, one after the other, and sees that the campaign finds each.
planted: setup
	cargo run -p relive-tests --features planted-faults --bin torture -- planted

# What a build needs besides Rust: installed where that can be done without asking, else named.
setup: export FIRST_BUILD := $(FIRST_BUILD)
setup:
	@sh .ci/setup

export DIR
