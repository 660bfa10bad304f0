// SPDX-License-Identifier: Apache-2.0
/*
 * Lets User Mode Linux run on CPUs with more extended state (AMX) than its kernel has room for.
 *
 * A host's kernel takes all of a process's extended state or, with EFAULT, none of it, and UML hands
 * it the part that UML knows.  Preloaded, this fills up the rest with zeros, which is how state
 * stands that nobody has used: for AMX a process must ask its kernel, and UML's does not know it.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

static long (*next_ptrace)(enum __ptrace_request, ...);
static char state[64 << 10]; /* static: UML's stacks are too small, and it runs in one thread */
static size_t state_bytes;   /* of all that the host has enabled */

__attribute__((constructor)) static void begin(void)
{
	unsigned eax, ebx = 0, ecx, edx;

	next_ptrace = dlsym(RTLD_NEXT, "ptrace");
	if (__get_cpuid_count(0xd, 0, &eax, &ebx, &ecx, &edx) && ebx <= sizeof(state))
		state_bytes = ebx;
}

long ptrace(enum __ptrace_request request, ...)
{
	va_list arguments;

	va_start(arguments, request);
	pid_t pid = va_arg(arguments, pid_t);
	void *address = va_arg(arguments, void *);
	void *data = va_arg(arguments, void *);
	va_end(arguments);
	if (request == PTRACE_SETREGSET && (long)address == NT_X86_XSTATE) {
		struct iovec *known = data;

		if (known->iov_len < state_bytes) {
			struct iovec all = { state, state_bytes };

			memcpy(state, known->iov_base, known->iov_len);
			return next_ptrace(request, pid, address, &all);
		}
	}
	return next_ptrace(request, pid, address, data);
}
