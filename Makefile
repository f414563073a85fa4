# SPDX-License-Identifier: GPL-2.0-only
# tribuf: a kernel module, a library and a command. "make help" lists the goals.
# Everything is built under build/, and nothing else is ever written.

PREFIX  ?= /usr/local
CC      := $(if $(CROSS_COMPILE),$(CROSS_COMPILE)gcc,$(CC))
TRIPLET := $(shell $(CC) -dumpmachine)
OUTPUT  := $(CURDIR)/build/$(TRIPLET)
# Programs for another machine bring the C library along: it may have none, or
# another one. STATIC= takes that back.
STATIC  ?= $(if $(CROSS_COMPILE),1)
export PREFIX DESTDIR HOST CC
# Not to check and its like, who build for other machines, too.
tools selftests install: export STATIC := $(STATIC)

# The kernel to build the module for, and where that goes.
KDIR    ?= /lib/modules/$(shell uname -r)/build
# Not include/config/kernel.release, which says 6.1.192 for Debian's 6.1.0-56-amd64.
RELEASE := $(shell cut -s -d'"' -f2 $(KDIR)/include/generated/utsrelease.h 2>/dev/null)
MODDIR   = $(CURDIR)/build/$(RELEASE)
# BTF of a module needs the kernel's own vmlinux and pahole; nothing here uses it.
# A kernel that signs its modules does not come with the key.
KBUILD   = $(MAKE) -C $(KDIR) M=$(MODDIR) CONFIG_DEBUG_INFO_BTF_MODULES= \
	$(if $(wildcard $(KDIR)/certs/signing_key.pem),,CONFIG_MODULE_SIG_ALL=)

.PHONY: all modules modules-if-possible lib tools selftests node node-if-possible node-tests install clean \
	check check-all demo soak figures bench coverage help

all: lib tools selftests node-if-possible modules-if-possible

help:
	@echo 'make                 library, command, tests; the module if KDIR exists'
	@echo 'make demo            watch two processes exchange a file, in a virtual machine'
	@echo 'make check           run every test, in a virtual machine'
	@echo 'make check-all       the same on every kernel, debug kernels included'
	@echo 'make modules         the module, into build/<kernel release>/tribuf.ko'
	@echo 'make lib|tools|selftests   into build/$(TRIPLET)/'
	@echo 'make node            the Node.js addon, likewise; part of make if Node is here'
	@echo 'make coverage        lines and branches that the tests reach'
	@echo 'make bench           speed, beside the limits of the machine and what else there is'
	@echo 'make figures         the score card (AREA=channel, waiting, ... a part of it)'
	@echo 'make soak            every full count, for hours; goes on where it was interrupted'
	@echo 'make install         library, command and the module that was built'
	@echo 'make clean           remove what was built, but not the kernels in build/kernels'
	@echo
	@echo 'KDIR=DIR             kernel headers to build the module for'
	@echo 'ARCH= CROSS_COMPILE= for another machine; install then adds the tests, and programs'
	@echo '                     are linked statically (STATIC= takes that back)'
	@echo 'W=1, C=1 CHECK=sparse  for the module, as in the kernel itself'
	@echo 'TRIBUF_KUNIT=y       the module with its KUnit tests in it, for a kernel that has KUnit'
	@echo 'HOST=1               demo, check: this machine'\''s own /dev/tribuf instead of a VM'
	@echo 'PREFIX= DESTDIR=     install: where to ($(PREFIX))'

# Only demo, check and their like install packages, and say so. These do not.

modules:
	@test -n "$(RELEASE)" || { echo >&2 "no kernel headers in $(KDIR): \
	install them (apt-get install linux-headers-$$(uname -r)) or name others with KDIR="; exit 1; }
	@mkdir -p $(MODDIR)
	+@flock $(MODDIR)/.lock sh -c 'tools/mirror Kbuild kernel include $(MODDIR) && $(KBUILD) modules'

modules-if-possible:
ifneq ($(wildcard $(KDIR)/Makefile),)
	+@$(MAKE) --no-print-directory modules
else
	@echo "module left out: no kernel headers in $(KDIR) (KDIR= names others)"
endif

lib:
	+@$(MAKE) --no-print-directory -C lib OUTPUT=$(OUTPUT)

tools: lib
	+@$(MAKE) --no-print-directory -C tools OUTPUT=$(OUTPUT)

selftests: lib
	+@$(MAKE) --no-print-directory -C selftests OUTPUT=$(OUTPUT)

node node-if-possible node-tests: lib
	+@$(MAKE) --no-print-directory -C lib/node OUTPUT=$(OUTPUT) $@

install: lib tools
	+@$(MAKE) --no-print-directory -C lib OUTPUT=$(OUTPUT) install
	+@$(MAKE) --no-print-directory -C tools OUTPUT=$(OUTPUT) install
	+@$(if $(CROSS_COMPILE),$(MAKE) --no-print-directory -C selftests OUTPUT=$(OUTPUT) install)
	+@if [ -n "$(RELEASE)" ] && [ -e $(MODDIR)/tribuf.ko ]; then \
		$(KBUILD) INSTALL_MOD_PATH=$(DESTDIR) modules_install; \
	else echo "module left out: not built for $(KDIR)"; fi

clean:
	find build -mindepth 1 -maxdepth 1 ! -name kernels ! -name kvm -exec rm -rf {} + 2>/dev/null || true

check:           ; @tools/setup check && selftests/check
check-all:       ; @tools/setup check-all && selftests/check all
demo:            ; @tools/setup demo && tools/demo
soak:            ; @tools/setup check && selftests/soak $(ARGS)
bench: lib       ; @tools/setup bench || true; selftests/bench/run $(ARGS)
figures:         ; @tools/setup check && selftests/figures $(AREA)
coverage:        ; @tools/setup check && selftests/coverage
