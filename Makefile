# make book   install, execute every notebook, build the pages      (the default)
# make test   install, then everything that CI checks
# make lab    install, then JupyterLab on the notebooks
# make clean  delete what was built        make distclean  delete the virtual environment, too
#
# Needs Python 3.11 or newer. Variables: PYTHON (which one), VENV (where to install), DEVICE (auto, cpu or cuda),
# JOBS (notebooks executed, and tests run, at a time; the default is one per core).

PYTHON ?= python3
VENV ?= .venv
DEVICE ?= auto
JOBS ?=

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# one thread each: as many processes as cores are enough
TESTS := OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses $(or $(JOBS),logical) --maxprocesses 8
RUN := $(BIN)/entropylens run --device $(DEVICE) $(if $(JOBS),--jobs $(JOBS))

.DEFAULT_GOAL := book
.PHONY: book test lab install clean distclean help

book: $(STAMP)
	$(RUN) --profile full
	$(BIN)/entropylens build --profile full
	@echo "The book is at _build/html/index.html"

test: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(TESTS) --dist worksteal -m "not browser"
	$(RUN) --profile quick
	$(BIN)/entropylens build --profile quick
	ENTROPYLENS_SITE=_build/html-quick $(TESTS) --dist loadgroup -m browser tests/browser
	# all but those whose cheapest populations take minutes
	$(BIN)/entropylens verify low_entropy ffn_or_attention implicit_alpha residual_dominance active_neurons spikes \
	  bound_search looped_induction energy_entropy gated_loops looped_or_deep --budget 20

install: $(STAMP)

lab: $(STAMP)
	$(BIN)/jupyter lab notebooks

# The stamp is written last, and deleted before an update begins: without it a virtual environment is one whose
# installation was cut short, in which pip may stumble over half a package, so it is made anew.
$(STAMP): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "this book needs Python 3.11 or newer as '$(PYTHON)'; name another one: make PYTHON=python3.11" >&2; exit 1; }
	@test -e $@ || { echo "making a virtual environment in $(VENV)"; $(PYTHON) -m venv --clear $(VENV); }
	@rm -f $@
	@echo "installing requirements.txt (a minute or two the first time, 1.6 GB)"
	@$(PIP) -r requirements.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

clean:
	rm -rf _build .mypy_cache .pytest_cache .ruff_cache .hypothesis

distclean: clean
	rm -rf $(VENV)

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | head -7
