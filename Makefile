# The only list of developer commands. Each target installs what it needs, once:
# Debian's packages (as root), and Python environments in .venv and .venv36.

SHELL := /bin/sh
VENV := .venv
VENV36 := .venv36
PYTHON := $(VENV)/bin/python
SETUP := tests/setup.sh
SUITE = $(PYTHON) tests/suite.py
BENCH = PYTHONPATH=lib:tests LC_ALL=C $(PYTHON) -m bench --hook-python $(VENV36)/bin/python \
	$(if $(STOCK),--stock $(STOCK))

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-core test-dom0 test-ovs test-net test-hooks test-watch \
	test-reliability test-kills soak test-commands test-xapi test-browser test-lab test-demo \
	test-migratevm test-rpm test-xen measure test-mutants xo \
	bench bench-quick bench-kernel lint golden completion rpm repo clean packages root

help:
	@echo 'xsisolate: network isolation for the VMs of XCP-ng and XenServer hosts'
	@echo
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1|\2/p' $(firstword $(MAKEFILE_LIST)) \
		| while IFS='|' read -r command text; do printf '%-22s%s\n' "$$command" "$$text"; done
	@echo
	@echo 'All but lint, test-core, rpm, repo and clean need root: the sandbox Dom0 makes namespaces.'

demo: root packages $(VENV)/ready $(VENV36)/ready ## eight VMs on a real Open vSwitch, isolated and tried; an admin on a pool (about 30 s)
	@$(SETUP) demo

test: root packages $(VENV)/ready $(VENV36)/ready xo ## everything, on Python 3.6 and the current one
	@$(SUITE) all

test-core: $(VENV)/ready $(VENV36)/ready ## policy and flows: tables and properties, no process started
	@$(SUITE) core

test-dom0: root packages $(VENV)/ready $(VENV36)/ready ## what speaks with xenstore, OVSDB, the kernel
	@$(SUITE) dom0

test-ovs: root packages $(VENV)/ready ## flows on a real switch: read back, reconciled, left alone
	@$(SUITE) ovs

test-net: root packages $(VENV)/ready ## real packets between VMs
	@$(SUITE) net

test-mutants: root packages $(VENV)/ready ## break the pipeline on purpose: do the packets notice? (about 11 min)
	@$(SUITE) mutants

test-hooks: root packages $(VENV)/ready ## the hooks as processes, fired as udev and xenopsd do
	@$(SUITE) hooks

test-watch: root packages $(VENV)/ready ## the daemon: lost flows, changes that no hook sees, restarts
	@$(SUITE) watch

measure: root packages $(VENV)/ready $(VENV36)/ready ## the daemon with 250 VIFs: memory, CPU time, windows (about 4 min)
	@$(SUITE) measure

test-reliability: root packages $(VENV)/ready $(VENV36)/ready ## killed hooks, dying neighbours, storms, a short soak, in a flood
	@$(SUITE) reliability

test-kills: root packages $(VENV)/ready $(VENV36)/ready ## hooks killed at each of their calls to the world (about 15 min)
	@$(SUITE) kills

soak: root packages $(VENV)/ready $(VENV36)/ready ## MINUTES=10 SEED=...: everything at random, checked after each step
	@PYTHONDEVMODE=yes HOOK_PYTHON=$$(ls -d $(CURDIR)/$(VENV36)/bin/python 2>/dev/null || echo $(CURDIR)/$(PYTHON)) \
		$(PYTHON) tests/reliability/soak.py $(or $(MINUTES),10) $(SEED)

test-commands: root packages $(VENV)/ready $(VENV36)/ready ## status, explain, matrix, check, doctor on a host with real packets
	@$(SUITE) commands

test-browser: root packages $(VENV)/ready ## the matrix's page in Chromium, which is installed for that (not part of make test)
	@$(SETUP) browser
	@$(SUITE) browser

test-xapi: root packages $(VENV)/ready ## commands over XAPI, the plugin, groups of a pool of two hosts
	@$(SUITE) xapi

test-migratevm: packages $(VENV)/ready $(VENV36)/ready xo ## a VM from one pool into another: streams, failures, throughput; the recipes
	@$(SUITE) migratevm

test-lab: root packages $(VENV)/ready ## the sandbox Dom0 itself
	@$(SUITE) lab

test-demo: root packages $(VENV)/ready ## the demo: it notices sabotage, and cleans up
	@$(SUITE) demo

test-rpm: root packages $(VENV)/ready $(VENV36)/ready ## the package: installed, activated, upgraded and removed in a root of its own (about 90 s)
	@$(SUITE) rpm

# Neither part of make test nor of CI, which as a whole would not stay under its time limit:
# by hand, before each release.
test-xen: root packages $(VENV36)/ready rpm ## XENSTORED=oxenstored|xenstored: the package on a real Xen in QEMU (about 10 min each)
	@$(SETUP) xen
	@$(PYTHON) tests/xen/boot.py $(XENSTORED)

rpm: packages $(VENV)/ready ## build the package of what is committed, into dist/
	@rpm/build $(PYTHON)

repo: rpm ## make a yum repository of it, in dist/repo/
	@rpm/repo dist

lint: $(VENV)/ready $(VENV36)/ready ## ruff, and mypy --strict
	@$(SUITE) lint

completion: $(VENV)/ready ## write bash's completion anew, out of the command line's parser
	@PYTHONPATH=lib $(PYTHON) -m xsisolate.cli.completion > rpm/completion/xsisolate

bench: root packages $(VENV)/ready $(VENV36)/ready ## what hooks, sync and packets cost (STOCK=FOLDER: the stock scripts, too)
	@$(BENCH) --plots docs/plots

bench-quick: root packages $(VENV)/ready $(VENV36)/ready ## the same in about a minute
	@$(BENCH) --quick

bench-kernel: root packages $(VENV)/ready $(VENV36)/ready ## ROUNDS=9: the hooks with the kernel's datapath, in QEMU, by the bridge's size (about 8 min)
	@$(SETUP) xen
	@PYTHONPATH=lib:tests LC_ALL=C $(PYTHON) -m bench.kernel $(ROUNDS)

golden: $(VENV)/ready ## write the golden files of tests/core anew; look at the diff
	@$(PYTHON) -m pytest -q tests/core --golden

setup: packages $(VENV)/ready $(VENV36)/ready xo ## only install what the others need

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
