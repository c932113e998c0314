/* SPDX-License-Identifier: GPL-2.0 */
/* Has the locks of local storage refused, where the kernel was built for that. */
#ifndef __LOCAL_STORAGE_FAULTS_H
#define __LOCAL_STORAGE_FAULTS_H

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define FAULTS		"/sys/kernel/debug/fail_bpf_local_storage_lock/"

static inline int fault_set(const char *file, long long value)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), FAULTS "%s", file);
	f = fopen(path, "w");
	if (!f)
		return -errno;
	fprintf(f, "%lld", value);

	return fclose(f) ? -errno : 0;
}

/* Refuse so many percent of the locks taken at these sites: bits of bpf_local_storage_site. */
static inline int inject(int percent, unsigned int sites)
{
	if (!percent && access(FAULTS, F_OK))
		return 0;

	return fault_set("probability", 0) ?: fault_set("verbose", 0) ?:
	       fault_set("interval", 1) ?: fault_set("times", -1) ?:
	       fault_set("sites", sites) ?: fault_set("probability", percent);
}

#endif
