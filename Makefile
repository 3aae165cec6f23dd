# make book   install, execute every notebook, build the pages      (the default)
# make test   install, then everything that CI checks
# make lab    install, then JupyterLab on the notebooks
# make thorough  install, then what takes too long for `make test` and is checked once a week
# make gpu    install, then what a GPU is for: its tests, its times against the CPU's, notebooks, rows (PROFILE=full)
# make links  after make test: ask every address in the book whether it is there
# make audit  install, then ask PyPI whether a pinned package has a known hole
# make wheel  install, then the package as a file in dist/
# make install  nothing else
# make clean  delete what was built        make distclean  delete the virtual environment, too
#
# Needs Python 3.11 or newer. Variables: PYTHON (which one), VENV (where to install), DEVICE (auto, cpu or cuda),
# JOBS (notebooks executed, and tests run, at a time; the default is one per core).

PYTHON ?= python3
VENV ?= .venv
DEVICE ?= auto
PROFILE ?= quick
JOBS ?=

# Dozens of processes import the same packages. Containers like to set this, and then each compiles them anew.
unexport PYTHONDONTWRITEBYTECODE

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# one thread each: as many processes as cores are enough
TESTS := OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses $(or $(JOBS),logical) --maxprocesses 8
RUN = $(BIN)/entropylens run --device $(DEVICE) $(if $(JOBS),--jobs $(JOBS))
# trained and searched for; and all but those whose cheapest populations take minutes
SOME := ffn_or_attention bound_search
VERIFIED := $(SOME) low_entropy implicit_alpha residual_dominance active_neurons spikes looped_induction \
  energy_entropy gated_loops looped_or_deep

.DEFAULT_GOAL := book
.PHONY: book test thorough lab install gpu links audit wheel clean distclean help

book: $(STAMP)
	$(RUN) --profile full
	$(BIN)/entropylens build --profile full
	@echo "The book is at _build/html/index.html"

test: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(TESTS) --dist worksteal -m "not browser and not weekly"
	$(RUN) --profile quick
	$(BIN)/entropylens build --profile quick
	ENTROPYLENS_SITE=_build/html-quick $(TESTS) --dist loadgroup -m "browser and not weekly" tests/browser
	$(BIN)/entropylens verify $(SOME) --budget 10

# a test may take an hour there: one executes all notebooks
thorough: $(STAMP)
	$(TESTS) --dist loadfile -m weekly -o faulthandler_timeout=3600
	$(BIN)/entropylens verify $(VERIFIED) --budget 60

install: $(STAMP)

lab: $(STAMP)
	$(BIN)/jupyter lab notebooks

# the first line refuses at once where there is no GPU; the last ones compare with the committed rows
gpu: DEVICE = cuda
gpu: $(STAMP)
	$(BIN)/entropylens bench --device cuda
	$(BIN)/pytest -m gpu
	$(RUN) --profile $(PROFILE)
	$(BIN)/entropylens build --profile $(PROFILE)
	$(BIN)/entropylens compute --profile quick --device cuda
	$(BIN)/entropylens verify $(VERIFIED) --device cuda --budget 20
	$(BIN)/entropylens verify larger_text --budget 60

links: $(STAMP)
	ENTROPYLENS_PROFILE=quick $(BIN)/jupyter-book build . --toc book/_toc.yml --path-output _build/links --builder linkcheck -n -q --all

# Unpinned, since the newest knows most; --strict, since it would pass what it cannot look up.
audit: $(STAMP)
	$(PIP) pip-audit
	$(BIN)/pip-audit -r requirements.txt --no-deps --disable-pip --strict

# TAG, if given, has to name the version
wheel: $(STAMP)
	@version=$$($(BIN)/entropylens --version | grep -o '[^ ]*$$'); test "$${TAG:-v$$version}" = "v$$version" || { \
	  echo "the tag $$TAG does not name the version in pyproject.toml, $$version" >&2; exit 1; }
	rm -rf build dist # else what is no longer in src would be in the wheel, too
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

# The stamp is written last, and deleted before an update begins: without it a virtual environment is one whose
# installation was cut short, in which pip may stumble over half a package, so it is made anew.
$(STAMP): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "this book needs Python 3.11 or newer as '$(PYTHON)'; name another one: make PYTHON=python3.11" >&2; exit 1; }
	@test -e $@ || { echo "making a virtual environment in $(VENV)"; $(PYTHON) -m venv --clear $(VENV); }
	@rm -f $@
	@echo "installing requirements.txt (a minute or two the first time, 1.6 GB)"
	@$(PIP) --no-compile -r requirements.txt # Python compiles what is imported when it is, which is a fraction
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

clean:
	rm -rf _build build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

distclean: clean
	rm -rf $(VENV)

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile
