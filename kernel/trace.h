/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tracepoints: what the kernel sees of a channel. Frames pass unseen.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM tribuf

#if !defined(TRIBUF_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define TRIBUF_TRACE_H

#include <linux/tracepoint.h>
#include <uapi/linux/tribuf.h>

#define tribuf_show_role(role)				\
	__print_symbolic(role,				\
			 { TRIBUF_PRODUCER, "producer" },	\
			 { TRIBUF_CONSUMER, "consumer" },	\
			 { TRIBUF_OBSERVER, "observer" },	\
			 { TRIBUF_KEEPER, "keeper" })

DECLARE_EVENT_CLASS(tribuf_role,
	TP_PROTO(u64 channel, u32 role),
	TP_ARGS(channel, role),
	TP_STRUCT__entry(
		__field(u64, channel)
		__field(u32, role)
	),
	TP_fast_assign(
		__entry->channel = channel;
		__entry->role = role;
	),
	TP_printk("channel=%llu role=%s", __entry->channel, tribuf_show_role(__entry->role))
);

/* A handle got a role. */
DEFINE_EVENT(tribuf_role, tribuf_attach,
	TP_PROTO(u64 channel, u32 role),
	TP_ARGS(channel, role)
);

/* A role ended. */
DEFINE_EVENT(tribuf_role, tribuf_detach,
	TP_PROTO(u64 channel, u32 role),
	TP_ARGS(channel, role)
);

/* A sleeper set its bit in the state word. */
DEFINE_EVENT(tribuf_role, tribuf_sleep,
	TP_PROTO(u64 channel, u32 role),
	TP_ARGS(channel, role)
);

/* A touch of a guarded slot by another than its owner: SIGBUS. */
DEFINE_EVENT(tribuf_role, tribuf_guard_fault,
	TP_PROTO(u64 channel, u32 role),
	TP_ARGS(channel, role)
);

/* A peer rang; woke: somebody slept who had something to see. */
TRACE_EVENT(tribuf_ring,
	TP_PROTO(u64 channel, u32 role, bool woke),
	TP_ARGS(channel, role, woke),
	TP_STRUCT__entry(
		__field(u64, channel)
		__field(u32, role)
		__field(bool, woke)
	),
	TP_fast_assign(
		__entry->channel = channel;
		__entry->role = role;
		__entry->woke = woke;
	),
	TP_printk("channel=%llu role=%s woke=%d", __entry->channel,
		  tribuf_show_role(__entry->role), __entry->woke)
);

#endif /* TRIBUF_TRACE_H */

#undef TRACE_INCLUDE_PATH
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_PATH .
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
