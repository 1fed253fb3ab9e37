# The only list of developer commands. Each target installs what it needs, once:
# Debian's packages (as root), and Python environments in .venv and .venv36.

SHELL := /bin/sh
VENV := .venv
VENV36 := .venv36
PYTHON := $(VENV)/bin/python
PYTHONS := $(VENV)/ready $(VENV36)/ready       # 3.6 where there is one
SANDBOX := root packages $(PYTHONS)             # what a sandbox Dom0 needs
SETUP := tests/setup.sh
SUITE = $(PYTHON) tests/programs/suite.py
BENCH = PYTHONPATH=lib:tests/programs LC_ALL=C $(PYTHON) -m bench $(if $(STOCK),--stock $(STOCK))

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-unit test-dom0 test-ovs test-packets test-hooks test-daemon \
	test-resilience test-kills explore soak test-cli test-xapi test-selftest test-versions \
	test-kernel test-browser test-sandbox test-demo test-migratevm test-package test-upgrade test-pythons test-xen measure test-mutants xo \
	bench bench-quick bench-kernel lint golden completion corpus rpm repo clean packages root

help:
	@echo 'xsisolate: network isolation for the VMs of XCP-ng and XenServer hosts'
	@echo
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1|\2/p' $(firstword $(MAKEFILE_LIST)) \
		| while IFS='|' read -r command text; do printf '%-22s%s\n' "$$command" "$$text"; done
	@echo
	@echo 'All but lint, test-unit, rpm, repo and clean need root: the sandbox Dom0 makes namespaces.'

demo: $(SANDBOX) ## VMs on a real Open vSwitch, isolated and tried; a private network; an admin on a pool; a pool that runs is isolated (about 90 s)
	@$(SETUP) demo

test: $(SANDBOX) xo ## everything, on Python 3.6 and the current one
	@$(SUITE) all

test-unit: $(PYTHONS) ## policy and flows: tables and properties, no process started
	@$(SUITE) unit

test-dom0: $(SANDBOX) ## what speaks with xenstore, OVSDB, the kernel
	@$(SUITE) dom0

test-ovs: $(SANDBOX) ## flows on a real switch: read back, reconciled, left alone
	@$(SUITE) ovs

test-packets: $(SANDBOX) ## real packets between VMs
	@$(SUITE) packets

test-mutants: $(SANDBOX) ## break the pipeline on purpose: do the packets notice? (about 11 min)
	@$(SUITE) mutants

test-hooks: $(SANDBOX) ## the hooks as processes, fired as udev and xenopsd do
	@$(SUITE) hooks

test-daemon: $(SANDBOX) ## the daemon: lost flows, changes that no hook sees, restarts
	@$(SUITE) daemon

measure: $(SANDBOX) ## the daemon with 250 VIFs: memory, CPU time, windows; floods; a day of refusals (about 13 min)
	@$(SUITE) measure

test-resilience: $(SANDBOX) ## killed hooks, dying neighbours, storms, a short soak, in a flood
	@$(SUITE) resilience

test-kills: $(SANDBOX) ## hooks killed at each of their calls to the world (about 15 min)
	@$(SUITE) kills

explore: $(SANDBOX) ## what make test draws at random, twenty times as much; SUITE_SEED=... draws the same (about 14 min)
	@$(SUITE) explore

soak: $(SANDBOX) ## MINUTES=10 SEED=...: everything at random, checked after each step
	@PYTHONDEVMODE=yes PYTHONPATH=lib:tests:tests/programs $(PYTHON) -m soak $(or $(MINUTES),10) $(SEED)

test-cli: $(SANDBOX) ## status, explain, matrix, check, doctor on a host with real packets
	@$(SUITE) cli

test-selftest: $(SANDBOX) ## xsisolate selftest: it says yes, notices sabotage, leaves nothing
	@$(SUITE) selftest

# Not part of make test: each version takes as long as these parts do.
test-versions: $(SANDBOX) ## PARTS='ovs selftest': the tests on Debian 11's, 12's and 13's Open vSwitch, fetched by apt
	@PYTHONPATH=tests/programs $(PYTHON) -m versions $(PARTS)

test-kernel: $(SANDBOX) ## KERNELS='bullseye trixie/bullseye' OPTIONS=--full: xsisolate selftest on the datapath of Debian's kernels (and a release's Open vSwitch), in QEMU
	@$(SETUP) xen
	@PYTHONPATH=tests/programs $(PYTHON) -m xen.selftest $(addprefix --on=,$(KERNELS)) $(OPTIONS)

test-browser: $(SANDBOX) ## the matrix's page in Chromium, which is installed for that (not part of make test)
	@$(SETUP) browser
	@$(SUITE) browser

test-xapi: $(SANDBOX) ## commands over XAPI, the plugin, groups of a pool of two hosts
	@$(SUITE) xapi

test-migratevm: packages $(PYTHONS) xo ## a VM from one pool into another: streams, failures, throughput; the recipes
	@$(SUITE) migratevm

test-sandbox: $(SANDBOX) ## the sandbox Dom0 itself
	@$(SUITE) sandbox

test-demo: $(SANDBOX) ## the demo: it notices sabotage, and cleans up
	@$(SUITE) demo

test-package: $(SANDBOX) ## the package: installed, activated, upgraded and removed in a root of its own (about 90 s)
	@$(SUITE) package

test-upgrade: $(SANDBOX) ## FROM=COMMIT: from that commit's package to this one's and back, under load (about 1 min)
	@UPGRADE_FROM=$(or $(FROM),$(error FROM=COMMIT is missing)) $(SUITE) upgrade

test-pythons: $(SANDBOX) ## the library on Python 3.9, 3.12 and 3.13, those that are there (about 3 min)
	@$(SETUP) pythons .cache/pythons tests/requirements-others.txt 3.9 3.12 3.13
	@$(SUITE) pythons

# Neither part of make test nor of CI, which as a whole would not stay under its time limit:
# by hand, before each release.
test-xen: $(SANDBOX) rpm ## XENSTORED=oxenstored|xenstored: the package on a real Xen in QEMU (about 20 min each)
	@$(SETUP) xen
	@PYTHONPATH=tests/programs $(PYTHON) -m xen.boot $(XENSTORED)

rpm: packages $(VENV)/ready ## build the package of what is committed, into dist/
	@rpm/build $(PYTHON)

repo: rpm ## make a yum repository of it, in dist/repo/
	@rpm/repo dist

lint: $(PYTHONS) ## ruff, and mypy --strict
	@$(SUITE) lint

completion: $(VENV)/ready ## write bash's completion anew, out of the command line's parser
	@PYTHONPATH=lib $(PYTHON) rpm/completion/generate.py > rpm/completion/xsisolate

corpus: $(VENV)/ready ## write the self-test's frames anew, out of tests/support/packets
	@PYTHONPATH=lib:tests:tests/programs $(PYTHON) -m support.packets.shipped_corpus lib/xsisolate/selftest/corpus.jsonl.gz

bench: $(SANDBOX) ## what hooks, sync and packets cost (STOCK=FOLDER: the stock scripts, too)
	@$(BENCH) --plots docs/plots

bench-quick: $(SANDBOX) ## the same in about a minute
	@$(BENCH) --quick

bench-kernel: $(SANDBOX) ## ROUNDS=9: the hooks with the kernel's datapath, in QEMU, by the bridge's size (about 8 min)
	@$(SETUP) xen
	@PYTHONPATH=lib:tests/programs LC_ALL=C $(PYTHON) -m bench.kernel $(ROUNDS)

golden: $(VENV)/ready ## write the golden files of tests/unit anew; look at the diff
	@$(PYTHON) -m pytest -q tests/unit --golden

setup: packages $(PYTHONS) xo ## only install what the others need

clean: ## remove what the other commands made, but no Debian packages
	rm -rf $(VENV) $(VENV36) .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis \
		build dist lib/*.egg-info
	find hooks lib tests -name __pycache__ -type d -prune -exec rm -rf {} +

root:
	@$(SETUP) root

packages:
	@$(SETUP) packages

xo: packages
	@$(SETUP) xo

# packages come first, where they are missing: they bring the interpreter
$(VENV)/ready: tests/requirements.txt $(SETUP) | packages
	@$(SETUP) venv $(VENV) $<

$(VENV36)/ready: tests/requirements-3.6.txt $(SETUP) | packages
	@$(SETUP) venv36 $(VENV36) $<
