// SPDX-License-Identifier: GPL-2.0-only
/*
 * What users may have: bytes and channels per user.
 *
 * A charge falls on the caller and on the owner of each user namespace between
 * it and the initial one, so that a user gains nothing from making namespaces
 * full of other users. This file knows nothing of channels.
 */
#include <linux/cred.h>
#include <linux/hashtable.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/user_namespace.h>

#include "channel.h"

static unsigned long long tribuf_user_bytes_max;
module_param_named(user_bytes_max, tribuf_user_bytes_max, ullong, 0644);
MODULE_PARM_DESC(user_bytes_max, "Bytes that all channels of one user may have (a quarter of memory)");

static unsigned int tribuf_user_channels_max = 16384;
module_param_named(user_channels_max, tribuf_user_channels_max, uint, 0644);
MODULE_PARM_DESC(user_channels_max, "Channels that one user may have (16384)");

/**
 * struct tribuf_account - what one user has
 * @node: link in tribuf_accounts
 * @uid: the user
 * @users: charges that fall on this account; freed with the last
 * @bytes: sum of their bytes
 * @channels: sum of their channels
 *
 * All under tribuf_accounts_lock, @uid immutable.
 */
struct tribuf_account {
	struct hlist_node node;
	kuid_t uid;
	unsigned int users;
	u64 bytes;
	u64 channels;
};

/**
 * struct tribuf_charge - one charge and the accounts that it falls on
 * @bytes: charged to each of them
 * @channels: likewise
 * @count: accounts in @account
 * @account: different from each other
 */
struct tribuf_charge {
	u64 bytes;
	unsigned int channels;
	unsigned int count;
	struct tribuf_account *account[];
};

static DEFINE_HASHTABLE(tribuf_accounts, 6);
static DEFINE_SPINLOCK(tribuf_accounts_lock);

void tribuf_account_init(void)
{
	if (!tribuf_user_bytes_max)
		tribuf_user_bytes_max = (u64)totalram_pages() * PAGE_SIZE / 4;
}

static struct tribuf_account *tribuf_account_find(kuid_t uid)
{
	struct tribuf_account *account;

	lockdep_assert_held(&tribuf_accounts_lock);
	hash_for_each_possible(tribuf_accounts, account, node, __kuid_val(uid))
		if (uid_eq(account->uid, uid))
			return account;
	return NULL;
}

/* Take one charge off the first @count accounts, which may end with it. */
static void tribuf_account_undo(struct tribuf_charge *charge, unsigned int count)
{
	lockdep_assert_held(&tribuf_accounts_lock);
	while (count--) {
		struct tribuf_account *account = charge->account[count];

		account->bytes -= charge->bytes;
		account->channels -= charge->channels;
		if (!--account->users) {
			hash_del(&account->node);
			kfree(account);
		}
	}
}

static int tribuf_account_add(struct tribuf_charge *charge, kuid_t uid)
{
	struct tribuf_account *account = tribuf_account_find(uid);
	unsigned int i;

	for (i = 0; i < charge->count; i++)
		if (charge->account[i] == account)
			return 0;
	if (!account) {
		account = kzalloc(sizeof(*account), GFP_ATOMIC | __GFP_ACCOUNT | __GFP_NOWARN);
		if (!account)
			return -ENOMEM;
		account->uid = uid;
		hash_add(tribuf_accounts, &account->node, __kuid_val(uid));
	}
	charge->account[charge->count++] = account;
	account->users++;
	account->bytes += charge->bytes;
	account->channels += charge->channels;
	if (account->bytes > READ_ONCE(tribuf_user_bytes_max) ||
	    account->channels > READ_ONCE(tribuf_user_channels_max))
		return -ENOSPC;
	return 0;
}

/**
 * tribuf_charge - charge the caller and the owners of its user namespaces
 * @bytes: of memory
 * @channels: 0 or 1
 *
 * Return: the charge, to be given to tribuf_uncharge(), or ERR_PTR of -ENOSPC (a
 * limit), -ENOMEM.
 */
struct tribuf_charge *tribuf_charge(u64 bytes, unsigned int channels)
{
	struct user_namespace *ns;
	struct tribuf_charge *charge;
	unsigned int depth = 1;
	int err;

	for (ns = current_user_ns(); ns != &init_user_ns; ns = ns->parent)
		depth++;
	charge = kzalloc(struct_size(charge, account, depth), GFP_KERNEL_ACCOUNT);
	if (!charge)
		return ERR_PTR(-ENOMEM);
	charge->bytes = bytes;
	charge->channels = channels;

	spin_lock(&tribuf_accounts_lock);
	err = tribuf_account_add(charge, current_fsuid());
	for (ns = current_user_ns(); !err && ns != &init_user_ns; ns = ns->parent)
		err = tribuf_account_add(charge, ns->owner);
	if (err)
		tribuf_account_undo(charge, charge->count);
	spin_unlock(&tribuf_accounts_lock);
	if (err) {
		kfree(charge);
		return ERR_PTR(err);
	}
	return charge;
}

void tribuf_uncharge(struct tribuf_charge *charge)
{
	spin_lock(&tribuf_accounts_lock);
	tribuf_account_undo(charge, charge->count);
	spin_unlock(&tribuf_accounts_lock);
	kfree(charge);
}
