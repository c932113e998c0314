// SPDX-License-Identifier: GPL-2.0
/*
 * BPF local storage: refuse its locks on purpose. See Documentation/fault-injection/ for the
 * attributes, and Documentation/bpf/local_storage.rst for the sites.
 */
#include <linux/debugfs.h>
#include <linux/fault-inject.h>
#include <linux/init.h>

#include "bpf_local_storage_internal.h"

DECLARE_FAULT_ATTR(bpf_local_storage_fail_attr);

/* A bit for each enum bpf_local_storage_site. */
u32 bpf_local_storage_fail_sites = ~0;

/**
 * bpf_local_storage_fail_lock() - is this acquisition to be refused?
 * @site: where it happens
 *
 * Any context.
 *
 * Return: true if so.
 */
bool bpf_local_storage_fail_lock(enum bpf_local_storage_site site)
{
	return READ_ONCE(bpf_local_storage_fail_sites) & BIT(site) &&
	       should_fail(&bpf_local_storage_fail_attr, 1);
}

static int __init setup_fail_lock(char *str)
{
	return setup_fault_attr(&bpf_local_storage_fail_attr, str);
}
__setup("fail_bpf_local_storage_lock=", setup_fail_lock);

static int __init fail_lock_debugfs(void)
{
	struct dentry *dir;

	dir = fault_create_debugfs_attr("fail_bpf_local_storage_lock", NULL,
					&bpf_local_storage_fail_attr);
	if (IS_ERR(dir))
		return PTR_ERR(dir);
	debugfs_create_x32("sites", 0600, dir, &bpf_local_storage_fail_sites);

	return 0;
}
late_initcall(fail_lock_debugfs);
