// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * JavaScript's values and C's. Whatever JavaScript passes is looked at here, and
 * nothing is taken on trust. Knows no channels.
 */
#include "addon.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define SAFE_INTEGER	9007199254740991.0	/* Number.MAX_SAFE_INTEGER */

static const char *code_of(int err)
{
	switch (-err) {
#define NAME(code) case code: return #code
	NAME(E2BIG); NAME(EACCES); NAME(EAGAIN); NAME(EBADF); NAME(EBUSY); NAME(EEXIST);
	NAME(EFAULT); NAME(EFBIG); NAME(EINTR); NAME(EINVAL); NAME(EIO); NAME(EISCONN);
	NAME(EMFILE); NAME(EMSGSIZE); NAME(ENAMETOOLONG); NAME(ENFILE); NAME(ENODEV);
	NAME(ENOENT); NAME(ENOMEM); NAME(ENOSPC); NAME(ENOTCONN); NAME(ENOTSUP);
	NAME(EPERM); NAME(EPROTO); NAME(EPROTONOSUPPORT); NAME(EROFS); NAME(ESTALE);
#undef NAME
	default: return "EUNKNOWN";
	}
}

static napi_value text(napi_env napi, const char *string)
{
	napi_value value = NULL;

	napi_create_string_utf8(napi, string, NAPI_AUTO_LENGTH, &value);
	return value;
}

napi_value error_of(napi_env napi, int err, const char *why)
{
	napi_value error = NULL;
	char message[600];

	snprintf(message, sizeof(message), "%s: %s", code_of(err), why);
	napi_create_error(napi, text(napi, code_of(err)), text(napi, message), &error);
	set(napi, error, "errno", number(napi, err));
	return error;
}

napi_value fail(napi_env napi, int err)
{
	napi_throw(napi, error_of(napi, err, tribuf_explain()));
	return NULL;
}

napi_value fail_with(napi_env napi, const char *code, const char *message)
{
	char full[600];

	snprintf(full, sizeof(full), "%s: %s", code, message);
	napi_throw_error(napi, code, full);
	return NULL;
}

static bool wrong(napi_env napi, const char *what, const char *wanted)
{
	char message[200];

	snprintf(message, sizeof(message), "EINVAL: %s must be %s", what, wanted);
	napi_throw_type_error(napi, "EINVAL", message);
	return false;
}

bool get_args(napi_env napi, napi_callback_info info, struct args *args)
{
	void *data = NULL;

	args->count = sizeof(args->v) / sizeof(args->v[0]);
	if (napi_get_cb_info(napi, info, &args->count, args->v, NULL, &data) != napi_ok || !data)
		return false;
	args->env = data;
	return true;
}

static bool get_integer(napi_env napi, napi_value value, const char *what, double max,
			double *result)
{
	if (napi_get_value_double(napi, value, result) != napi_ok || !(*result >= 0) ||
	    *result > max || *result != floor(*result))
		return wrong(napi, what, "a whole number that is not negative");
	return true;
}

bool get_u32(napi_env napi, napi_value value, const char *what, uint32_t *result)
{
	double found;

	if (!get_integer(napi, value, what, UINT32_MAX, &found))
		return false;
	*result = (uint32_t)found;
	return true;
}

bool get_size(napi_env napi, napi_value value, const char *what, uint64_t *result)
{
	double found;

	if (!get_integer(napi, value, what, SAFE_INTEGER, &found))
		return false;
	*result = (uint64_t)found;
	return true;
}

/* Of a Uint8Array, over shared memory too: JavaScript makes one of whatever it is given. */
bool get_bytes(napi_env napi, napi_value value, const char *what, unsigned char **data,
	       size_t *bytes)
{
	napi_typedarray_type type = napi_int8_array;
	bool is_array = false;
	void *start = NULL;

	napi_is_typedarray(napi, value, &is_array);
	if (!is_array ||
	    napi_get_typedarray_info(napi, value, &type, bytes, &start, NULL, NULL) != napi_ok ||
	    type != napi_uint8_array)
		return wrong(napi, what, "a Uint8Array");
	*data = start;
	if (!start)
		*bytes = 0;
	return true;
}

napi_value number(napi_env napi, double value)
{
	napi_value result = NULL;

	napi_create_double(napi, value, &result);
	return result;
}

napi_value big(napi_env napi, uint64_t value)
{
	napi_value result = NULL;

	napi_create_bigint_uint64(napi, value, &result);
	return result;
}

void set(napi_env napi, napi_value object, const char *name, napi_value value)
{
	if (object && value)
		napi_set_named_property(napi, object, name, value);
}
