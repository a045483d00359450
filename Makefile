# Two commands do everything on a fresh machine: `make quickstart` and `make test`.

PYTHON ?= python3
FOLDER ?= /usr/share/doc
VENV := .venv
BIN := $(VENV)/bin

# What the tests use besides Python: other people's programs to compare with, and real file systems.
DEBIAN := acl attr libcap2-bin rsync e2fsprogs xfsprogs btrfs-progs fuse3 libfuse2 libarchive-tools
# Database servers, started by the tests alone: no cluster is made at installation.
DATABASES := postgresql-15 mariadb-server-core mariadb-client-core mariadb-client mariadb-backup sqlite3 redis-tools

# Where `make install` puts the program: a folder of its own, and a link where the shell finds it.
PREFIX ?= /usr/local

# A real SSH server and a real S3 server (Ceph's gateway), started by the tests on loopback.
SERVERS := openssh-server openssh-sftp-server ceph-mon ceph-mgr ceph-osd ceph-common radosgw

# Browsers, which puppeteer (tests/web) drives.
BROWSERS := chromium firefox-esr

# Discs: what burns and reads them, the emulated machine with drives (tests/lab), and NTFS and exFAT for this one.
DISCS := mmdebstrap qemu-system-x86 seabios xorriso genisoimage p7zip-full growisofs dosfstools mtools ntfs-3g exfat-fuse exfatprogs
PACKAGES := $(DEBIAN) $(DATABASES) $(SERVERS) $(BROWSERS) $(DISCS)

.PHONY: help quickstart install test lint types clean packages lock docs-tried

help:
	@echo "make quickstart [FOLDER=...]  install Safehold into $(VENV), then back up, change and restore a folder"
	@echo "make install [PREFIX=...]     install Safehold for everybody on this machine: $(PREFIX)/bin/safehold"
	@echo "make test                     install what the tests need, then run every check"
	@echo "make lint types               the quick checks alone"
	@echo "make docs-tried [PAGES=...]   try the pages' commands on a fresh Debian 12 (root, mmdebstrap)"
	@echo "make lock                     pin the newest versions of the libraries"

quickstart: $(VENV)/.installed
	@$(BIN)/python tools/quickstart.py "$(FOLDER)"

install:
	$(PYTHON) -m venv $(PREFIX)/lib/safehold
	$(PREFIX)/lib/safehold/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(PREFIX)/lib/safehold/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall .
	mkdir -p $(PREFIX)/bin && ln -sf ../lib/safehold/bin/safehold $(PREFIX)/bin/safehold
	@$(PREFIX)/bin/safehold --version

docs-tried: $(VENV)/.dev
	$(BIN)/python tests/pages/tried.py $(PAGES)

# Three processes for two cores: a third of the time tests wait for servers, drives and clocks.
test: $(VENV)/.dev packages $(VENV)/.web $(VENV)/.plugins $(VENV)/.lab
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(MAKE) --no-print-directory types
	@base=$$(mktemp -d) && chmod 755 "$$base" && trap 'rm -rf "$$base"' EXIT && \
		$(BIN)/python -m pytest -n 3 --dist worksteal --basetemp="$$base/tests" $(PYTEST)

lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

types: $(VENV)/.dev
	$(BIN)/mypy --platform linux
	$(BIN)/mypy --platform darwin
	$(BIN)/mypy --platform win32

# Installed only as root, and only what is missing; elsewhere the tests say what they lack.
packages:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && ! dpkg -s $(PACKAGES) >/dev/null 2>&1; then \
		export DEBIAN_FRONTEND=noninteractive install="apt-get install -y -qq --no-install-recommends"; \
		apt-get update -qq && $$install $(DEBIAN) $(SERVERS) $(BROWSERS) $(DISCS) postgresql-common >/dev/null && \
		sed -i 's/^#*create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf && \
		$$install $(DATABASES) >/dev/null; \
	fi

$(VENV)/.installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.installed requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

# What drives the browsers, and a service like Azure's; nothing of it is needed to use Safehold.
$(VENV)/.web: $(VENV)/.dev tests/web/package-lock.json tests/azure/package-lock.json
	for each in web azure; do (cd tests/$$each && npm ci --silent --ignore-scripts --no-audit --no-fund) || exit 1; done
	@touch $@

# MariaDB's encryption comes with a package that starts a service when it is installed: it is only unpacked.
$(VENV)/.plugins: $(VENV)/.dev packages
	@if command -v apt-get >/dev/null && [ ! -d $(VENV)/mariadb-server ]; then \
		(cd $(VENV) && apt-get download -qq -o APT::Sandbox::User=root mariadb-server >/dev/null && dpkg -x mariadb-server_*.deb mariadb-server && rm mariadb-server_*.deb); fi

# The emulated machine with drives, made once.
$(VENV)/.lab: tests/lab/guest.py requirements.lock $(VENV)/.dev packages
	@if [ "$$(id -u)" = 0 ] && command -v mmdebstrap >/dev/null; then $(BIN)/python tests/lab/guest.py $(VENV)/lab && touch $@; fi

lock: $(VENV)/.dev
	$(BIN)/uv pip compile -q pyproject.toml --extra server --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-annotate --no-header --upgrade -o requirements.lock
	$(BIN)/uv pip compile -q --group dev pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-annotate --no-header --upgrade -c requirements.lock -o requirements-dev.lock

clean:
	rm -rf $(VENV) demo build dist
