# Everything a newcomer needs. Each target sets up what it needs; `make demo` is the place to start.

export PATH := $(PATH):$(HOME)/.cargo/bin
REAL ?= 0
ARGS ?=

.PHONY: help demo example test test-e2e redteam redteam-tools bench soak fuzz cards kernels setup setup-test ui build fmt lint clean

help:
	@echo "make demo          set up, build and start everything on this machine, with a scripted model"
	@echo "make demo REAL=1   the same with the real model; needs ANTHROPIC_API_KEY"
	@echo "make example       the Next.js application with its own users and tiles, and the gateway behind it (examples/nextjs)"
	@echo "make test          all checks and tests, as in CI"
	@echo "make redteam       attack a sandbox of this machine in every way we know, and say what held"
	@echo "make redteam-tools AgentDojo's attacks on tools, replayed through a gateway; gets that package once"
	@echo "make bench         measure; the table goes to target/bench"
	@echo "make soak          10,000 sandboxes made, killed and ended; fails if anything is left of them"
	@echo "make fuzz          broken streams of the provider without end, for a minute (FUZZ_SECS=...)"
	@echo "make cards         the Magic assistant over the real game's 35,000 cards, which a package has; needs the package registry"
	@echo "make kernels       the sandbox's tests on Debian's kernel with control groups of version 2, in an emulated machine"
	@echo "make setup | ui | build | fmt | lint | test-e2e | clean"

demo: build
	@exec target/release/hexward demo $(if $(filter 1,$(REAL)),--real) $(ARGS)

example:
	@exec examples/nextjs/run.sh

# The agent is proprietary: it comes from its own package, is pinned and tried by the program itself, and is never part of this
# repository. Quick when it is there.
build: setup ui
	@cargo build --release --locked -p hexward -p jail
	@target/release/hexward agent install

setup:
	@scripts/setup.sh demo

setup-test:
	@scripts/setup.sh test

ui: setup
	@scripts/ui.sh

test:
	@scripts/test.sh

test-e2e: setup-test ui
	@cargo build --locked -p hexward -p jail
	@target/debug/hexward agent install
	@scripts/e2e.sh

# Attacks need neither the agent nor a key: the attacker takes the agent's place.
redteam: setup ui
	@case " $(ARGS) " in *" bwrap "*|*" srt "*|*=bwrap*|*=srt*) scripts/setup.sh peers ;; esac
	@cargo build --release --locked -p hexward -p jail
	@exec target/release/hexward redteam sandbox $(ARGS)

# Nor do these: what a fooled model would say is known.
redteam-tools: setup ui
	@cargo build --release --locked -p hexward -p jail
	@exec target/release/hexward redteam tools $(ARGS)

# One selection of packages, so that the release build of the programs is shared.
bench: setup ui
	@scripts/setup.sh bench
	@cargo build --release --locked -p hexward -p jail -p bench -p proxy --bins --examples
	@target/release/hexward agent install
	@exec target/release/bench $(ARGS)

# Peaceful and violent ends of sandboxes, counted; a few minutes, part of `make bench` too. And the ledger: a thousand rounds of
# two hundred calls at once against a budget that fits some of them, on both engines, with two gateways.
soak: setup ui
	@scripts/setup.sh test
	@cargo build --release --locked -p hexward -p jail -p bench
	@target/release/bench soak
	@cargo test --release --locked -p store --features soak --test stories -- a_thousand_rounds

# Broken answers of the provider; the usual tests do a few thousand, always the same (fuzz/README.md).
fuzz:
	@FUZZ_SECS=$${FUZZ_SECS:-60} cargo test --release --locked -p proxy --lib -- --nocapture fuzz::

# Optional, since it needs a package with text that is not ours: imports, finds, judges and times the real game's cards.
cards: setup
	@scripts/setup.sh cards
	@cargo test --locked --workspace --features magic/corpus --test corpus -- --nocapture

# Optional: what CI's own kernel does not show.
kernels:
	@scripts/kernels.sh

fmt:
	@cargo fmt --all

lint: setup-test ui
	@cargo fmt --all --check
	@cargo xtask tidy
	@cargo clippy --locked --workspace --all-targets -- -D warnings

# Removes what was built and installed here; a demo's own state in .hexward stays.
clean:
	@cargo clean
	@rm -rf clients/typescript/dist clients/typescript/node_modules examples/nextjs/.next examples/nextjs/node_modules
	@rm -rf ui/dist ui/node_modules .hexward/agent .hexward/tools .hexward/stamps .hexward/setup.log
