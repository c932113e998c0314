# SPDX-License-Identifier: GPL-2.0
# The front door. Everything is done by the scripts in tools/testing/bpf_local_storage/.

T := tools/testing/bpf_local_storage
# What the scripts tell each other is not the user's to say.
unexport NAME FAIL SMP ICOUNT PLUGIN CMDLINE START SHOW
export LINUX V ACCEL JOBS CACHE STOCK DEBUG ROUNDS MINUTES DRAFT

.PHONY: help bench test check before soak demo lint series series-check tree kernel uml shell clean
.NOTPARALLEL:

help:
	@echo "make bench    our local storage measured beside the base's, on real kernels"
	@echo "make test     the base's selftests and ours on debug kernels, KUnit, the model"
	@echo "make check    the quick tier: the quick part of lint, KUnit on user-mode Linux"
	@echo "make lint     checkpatch, kernel-doc, sphinx, W=1, sparse, other architectures and configs"
	@echo "make before   threads that share a CPU, on Linux 6.12, the base and ours: who fails, how fast"
	@echo "make soak     long: load while locks are refused, on ours and on the base; the model"
	@echo "make series   out/series: our patches with a cover letter, for git am and git send-email"
	@echo "make series-check  applies and builds the series patch by patch, and checks each"
	@echo "make demo     tools/bpf/offcpu on our kernel: a small program that uses task storage"
	@echo "make tree     out/linux: the base, our files over it, patches/ applied"
	@echo "make kernel   our x86-64 kernel for the virtual machine, in out/build/ours"
	@echo "make uml      our user-mode Linux, in out/build/ours-uml"
	@echo "make shell    boots our kernel into a shell with bpftool"
	@echo "make clean    removes out/ (the cache stays)"
	@echo
	@echo "LINUX=/path   an own kernel tree as the base (it is copied, never written to)"
	@echo "V=7.3         the base's series, from Debian's linux-source-V package"
	@echo "ACCEL=auto    kvm, tcg, or auto: KVM if a guest really starts on it"
	@echo "JOBS=$$(nproc)        parallel jobs of a build"
	@echo "CACHE=DIR     toolbox, base, ccache; default ~/.cache/bpf-local-storage"
	@echo "STOCK=1       kernel, uml, shell: the unmodified base"
	@echo "DEBUG=1       kernel, shell: with KASAN, lockdep and debug objects"
	@echo "ROUNDS=3      bench, before: rounds, the kernels in turn"
	@echo "DRAFT=1       series: also without the figures of make bench and make test"
	@echo "MINUTES=4     soak: how long the load runs on each of the two kernels"

bench test check before soak demo lint series series-check tree:
	@$(T)/$@.sh

kernel:
	@$(T)/kernel.sh vm

uml:
	@$(T)/kernel.sh uml

shell: kernel
	@$(T)/vm.sh $(if $(filter 1,$(STOCK)),stock,ours)$(if $(filter 1,$(DEBUG)),-debug) shell

clean:
	@$(T)/clean.sh
