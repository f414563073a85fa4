/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A channel as Spin sees it: a producer and a consumer that sleep, ring, die at
 * every step and have successors, and an observer. The state word and the
 * generations are changed by the functions of linux/tribuf.h themselves; every
 * other step names the C function that it stands for.
 *
 * What was left out, and why nothing is lost by it:
 * - The word's count. It is never compared; and an exchange that succeeds has
 *   found the value that it computed from, so load and exchange are one step.
 * - Numbers that grow for ever. A seq is how far behind the newest published one
 *   it is (NEXT, NEWEST, OLDER). Only an observer compares two, and of two OLDER
 *   ones it drops the frame anyway, since its slot is not the newest any more. A
 *   generation is its parity and whether a copy of it is still current: exact
 *   until it wraps (2^31 reuses).
 * - Bytes. A slot is partial from a frame's first store to its last; who reads
 *   while a store happens has a torn copy.
 * - Weak memory: every step is seen by all. Barriers are for KCSAN to check.
 * - A killed process finishes the system call that it is in, as in Linux.
 * - Guarded channels, REPLACE and PENDING, which swap and ring no differently,
 *   and observers that leave: they share no bit with their successor alone.
 *
 * SLEEPS: producer (paced) and consumer may sleep. OBSERVER: there is one. QUIET:
 * a thread rings for the producer (TRIBUF_NO_RING). COARSE: writing and copying a
 * frame are one step each, so that all of this together is not too large: enough
 * for who wakes whom, since neither touches the word. MISTAKE_name=1 seeds one.
 */
c_decl {
\#include "linux/tribuf.h"
/* Spin takes what looks like a call for a side effect. */
\#define WORD_BACK		tribuf_word_back((__u32)now.word)
\#define WORD_FRONT		tribuf_word_front((__u32)now.word)
\#define WORD_NEWEST		tribuf_word_newest((__u32)now.word)
\#define WORD_PUBLISHED		(tribuf_word_publish((__u32)now.word) & (TRIBUF_COUNT_ONE - 1))
\#define WORD_ACQUIRED		tribuf_word_acquire((__u32)now.word)
\#define WORD_REDELIVERED	tribuf_word_redeliver((__u32)now.word)
\#define PUBLISH_RINGS		tribuf_publish_rings((__u32)old)
\#define PUBLISH_RINGS_ARMED	tribuf_publish_rings((__u32)old & ~TRIBUF_WATCHED)
\#define PUBLISH_RINGS_WATCHED	tribuf_publish_rings((__u32)old & ~TRIBUF_ARMED)
\#define ACQUIRE_RINGS		tribuf_acquire_rings((__u32)old)
\#define GENERATION_BEGUN	tribuf_generation_begin(now.gen[now.p_slot])
\#define GENERATION_PUBLISHED	tribuf_generation_publish(now.gen[now.p_slot])
\#define GENERATION_TAKEN_OVER	tribuf_generation_takeover(now.gen[now.p_slot])
}
#define FRESH	(word & c_expr { TRIBUF_FRESH })
#define ARMED	c_expr { TRIBUF_ARMED }
#define WATCHED	c_expr { TRIBUF_WATCHED }
#define PACED	c_expr { TRIBUF_PACED }
#define NEWEST_SLOT c_expr { WORD_NEWEST }
#define NO_SLOT	3

/* MISTAKE(x, wrong, right) is right, but wrong after -DMISTAKE_x=1. */
#define SEEDED_1 0,
#define SECOND(first, second, ...) second
#define PICK(seeded, wrong, right) SECOND(seeded wrong, right, )
#define CHOOSE(seed, wrong, right) PICK(SEEDED_##seed, wrong, right)
#define MISTAKE_(seed, wrong, right) CHOOSE(seed, wrong, right)
#define MISTAKE(name, wrong, right) MISTAKE_(MISTAKE_##name, wrong, right)

/* How far behind the newest published frame; NEXT: described, not published. */
#define NEXT	0
#define NEWEST	1
#define OLDER	2
/* What a ring under way knows of the peer: none, there, there and queued, ended. */
#define NOBODY	0
#define PEER	1
#define SLEEPER	2
#define ENDED	3

short word;
byte seq[3] = NEWEST;		/* tribuf_desc.seq; nothing is published: all are 0 */
bit gen[3], partial[3];		/* tribuf_desc.generation is odd; the slot's bytes */
bit ever;			/* a frame was published: newest seq is not 0 */

/* A handle: has the role, is queued, was woken since, sleeps. */
bit p_there, p_queued, p_woken, p_asleep;
bit c_there, c_queued, c_woken, c_asleep;
bit o_queued, o_woken, o_asleep;
/* Slots in hand, number that the producer counts on from, rings due and under way. */
byte p_slot = NO_SLOT, p_last = NEWEST, c_slot = NO_SLOT;
bit p_rings, p_finds, c_rings, r_due, r_finds;
byte p_sees, c_sees, r_sees;
/* The observer: what it reads (generation still the same? newer?), tribuf_handle.taken. */
byte o_slot = NO_SLOT, o_seq = OLDER, o_taken = NEWEST;
bit o_current, o_newer;

/* Nobody acts on these. */
bit c_has, o_has;		/* this consumer, the observer has had the newest frame */
bit taken;			/* a consumer has had it, and it was not redelivered */
bit lent;			/* references of a dead producer name this generation */
bit o_torn;			/* what the observer reads has changed meanwhile */
byte p_noise, c_noise, o_noise;	/* rings for nothing since one slept, came or left */
hidden short old;		/* within a step */
hidden byte next;
#ifdef MISTAKE_BLIND_STORE
short p_stale;
#endif
#ifdef MISTAKE_SUCCESSOR_BEFORE_END
byte z_slot = NO_SLOT;
#endif

/* The properties, by names that Spin's message shows. */
hidden byte ownership_is_exclusive, no_torn_read, newest_frame_wins, sequence_never_goes_back;
hidden byte only_published_frames_are_seen, references_end_with_their_writer;
hidden byte no_wakeup_is_lost, paced_producer_is_never_stuck, taken_frame_makes_room;
hidden byte newest_frame_reaches_successor, observer_gets_newest_frame;
hidden byte rings_for_nothing_are_bounded;
#define property(name, condition) assert((condition) || name)

/* A ring left to another thread may come late; and the whole is too large for it. */
#if !defined(QUIET) && !(defined(SLEEPS) && defined(OBSERVER))
#define noise(counter) counter++; property(rings_for_nothing_are_bounded, counter <= 1)
#else
#define noise(counter) skip
#endif

inline age(number) { if :: number < OLDER -> number++ :: else fi }

/* A newer frame is published. */
inline overtake()
{
	age(seq[0]); age(seq[1]); age(seq[2]); age(o_seq); age(o_taken);
	c_has = 0; o_has = 0; taken = 0
}

/* Somebody came or left: rings for nothing are counted anew. */
inline no_noise() { p_noise = 0; c_noise = 0; o_noise = 0 }

/* The back slot's generation; references to another one are void. */
#define generation(becomes)									\
	next = becomes;										\
	if											\
	:: next != gen[p_slot] -> lent = 0; if :: o_slot == p_slot -> o_current = 0 :: else fi	\
	:: else											\
	fi;											\
	gen[p_slot] = next & 1

/* The producer stores into its slot, which is whole afterwards or not. */
inline store(unfinished)
{
	property(ownership_is_exclusive, p_slot != c_slot);
	if :: o_slot == p_slot -> o_torn = 1 :: else fi;
	partial[p_slot] = unfinished
}

/* wait.c: tribuf_poll(), tribuf_read_sleep(). What is waited for was not there before. */
#define sleep(ready, BIT, queued, woken, asleep, noise, dies)					\
	if											\
	:: !queued ->										\
		MISTAKE(ARMS_BEFORE_QUEUEING, noise = 0; word = word | BIT;, )			\
		d_step { queued = 1; noise = 0 };						\
		MISTAKE(ARMS_BEFORE_QUEUEING, , word = word | BIT;)	/* tribuf_arm() */	\
		if :: MISTAKE(NO_RECHECK, false, ready) -> goto awake :: else fi		\
	:: queued			/* a registration that stayed: epoll's next edge */	\
	fi;											\
	if :: dies :: asleep = 1 fi;	/* at any time from here on */				\
end_asleep:											\
	atomic { woken -> woken = 0; asleep = 0 };						\
awake:	if :: atomic { queued = 0; woken = 0 } :: skip /* epoll */ fi

/* wait.c: tribuf_ring_one() */
#define ring_one(sees, there, queued, woken, BIT, ready)					\
	sees = there;			/* rcu_dereference() */					\
	MISTAKE(CLEARS_UNLOCKED, if :: sees == PEER && !queued -> word = word & ~BIT :: else fi;, )	\
	d_step {			/* tribuf_queue_check(), under the queue's lock */	\
		if										\
		:: sees == PEER && queued -> sees = SLEEPER					\
		:: sees == PEER && !queued MISTAKE(CLEARS_FOR_ENDED, || sees == ENDED, ) ->	\
			word = word & ~MISTAKE(NEVER_CLEARS, 0, BIT)				\
		:: else										\
		fi										\
	}											\
	d_step {			/* tribuf_wake_level() */				\
		if :: sees == SLEEPER && ready -> woken = 1 :: else fi;				\
		sees = NOBODY									\
	}

inline wake_observer(finds)
{
	d_step { if :: finds && o_queued && seq[NEWEST_SLOT] < o_taken -> o_woken = 1 :: else fi }
}

/* wait.c: tribuf_ring_peers() of a producer, then tribuf_ring_observers() */
inline ring_consumer(sees, finds)
{
	ring_one(sees, c_there, c_queued, c_woken, ARMED, FRESH);
#ifdef OBSERVER
	if
	:: word & WATCHED ->
		finds = o_queued;
		if
		:: !finds ->
			word = word & ~WATCHED;
			finds = MISTAKE(ONE_PASS, 0, o_queued);
			MISTAKE(WAKES_BEFORE_SETTING, wake_observer(finds);, )
			if :: finds -> word = word | WATCHED :: else fi;
			MISTAKE(WAKES_BEFORE_SETTING, finds = 0, skip)
		:: else
		fi;
		wake_observer(finds);
		finds = 0
	:: else
	fi
#endif
}

proctype producer()
{
attach:	atomic {			/* attach.c: tribuf_enter_role() */
		p_slot = c_expr { WORD_BACK };
		generation(c_expr { MISTAKE(SAME_GENERATION, GENERATION_BEGUN, GENERATION_TAKEN_OVER) });
		p_there = PEER;
		p_last = seq[MISTAKE(SEQ_FROM_BACK, p_slot, NEWEST_SLOT)]; /* lib: start_producer() */
		no_noise()
	}
idle:	if
#ifdef COARSE
	:: d_step {
		generation(c_expr { GENERATION_BEGUN });
		store(0);
		seq[p_slot] = p_last - 1;
		generation(c_expr { GENERATION_PUBLISHED })
	}
#else
	:: d_step { MISTAKE(STORES_BEFORE_ODD, skip, generation(c_expr { GENERATION_BEGUN })) } /* tribuf_begin() */
#endif
#ifdef SLEEPS
	:: FRESH -> goto pace
#endif
	:: goto stop
	:: goto dead
	MISTAKE(SUCCESSOR_BEFORE_END, :: d_step { z_slot != NO_SLOT -> partial[z_slot] = 1 } goto idle, )
	fi;
#ifndef COARSE
	if :: d_step { store(1) } :: goto dead fi;
	if
	:: d_step { store(0); seq[p_slot] = p_last - 1 }	/* tribuf_describe() */
	:: goto dead
	fi;
	if
	:: d_step {
		property(references_end_with_their_writer, !lent);
		generation(c_expr { GENERATION_PUBLISHED })
	}
	:: goto dead
	fi;
#endif
	MISTAKE(BLIND_STORE, p_stale = word;, )
	MISTAKE(RINGS_FIRST, d_step { old = word; p_rings = c_expr { PUBLISH_RINGS } };, )
	MISTAKE(RINGS_FIRST, if :: p_rings -> ring_consumer(p_sees, p_finds) :: else fi;, )
	if
	:: d_step {			/* tribuf_publish(): the exchange */
		MISTAKE(BLIND_STORE, word = p_stale;, )
		old = word;
		property(ownership_is_exclusive, p_slot == c_expr { WORD_BACK });
		word = c_expr { WORD_PUBLISHED };
		property(sequence_never_goes_back, seq[p_slot] == NEXT);
		p_slot = c_expr { WORD_BACK };
		property(ownership_is_exclusive, p_slot != c_slot);
		overtake();
		ever = 1;
		p_rings = MISTAKE(RINGS_FIRST, 0, c_expr { PUBLISH_RINGS });
		if :: !c_queued && c_expr { PUBLISH_RINGS_ARMED } -> noise(c_noise) :: else fi;
		if :: !o_queued && c_expr { PUBLISH_RINGS_WATCHED } -> noise(o_noise) :: else fi
	}
	:: goto dead
	fi;
	if
#ifdef QUIET
	:: p_rings -> atomic { p_rings = 0; r_due = 1 }
#else
	:: p_rings -> p_rings = 0; ring_consumer(p_sees, p_finds)
#endif
	:: p_rings -> p_rings = 0; goto dead
	:: !p_rings
	fi;
#ifdef SLEEPS
	if :: p_queued :: goto idle fi;	/* waits for the edge, or whatever else */
pace:	sleep(!FRESH, PACED, p_queued, p_woken, p_asleep, p_noise, goto dead);
#endif
	goto idle;

dead:	atomic { p_queued = 0; p_woken = 0 };
	d_step {			/* handle.c: tribuf_handle_end() */
		lent = gen[p_slot];
		MISTAKE(SUCCESSOR_BEFORE_END, z_slot = p_slot;, )
		p_there = NOBODY; p_slot = NO_SLOT; r_due = 0;
		if :: c_sees != NOBODY -> c_sees = ENDED :: else fi;
		c_woken = MISTAKE(NO_WAKE_AT_DEATH, c_woken, c_queued);	/* tribuf_channel_leave() */
		o_woken = o_queued;
		no_noise()
	};
	if :: goto attach :: skip fi;
stop:	skip;
end_stop:
	false
}

#ifdef QUIET
proctype ringer()			/* tribuf_ring() by another thread */
{
end_idle:
	do
	:: atomic { r_due -> r_due = 0 }; ring_consumer(r_sees, r_finds)
	od
}
#endif

proctype consumer()
{
attach:	atomic {			/* swap.c: tribuf_swap_redeliver() */
		if
		:: MISTAKE(NO_REDELIVERY, false &&, ) MISTAKE(GIVES_BACK_AT_RELEASE, false &&, ) !FRESH && ever ->
			word = c_expr { WORD_REDELIVERED };
			taken = 0
		:: else
		fi
	}
	d_step {			/* attach.c: tribuf_enter_role() */
		c_there = PEER; c_slot = c_expr { WORD_FRONT };
		no_noise()
	}
work:	if
	:: d_step {			/* tribuf_acquire(): the exchange */
		MISTAKE(FORGETS_FRESH, true, FRESH) ->
		property(ownership_is_exclusive, c_slot == c_expr { WORD_FRONT });
		old = word;
		word = c_expr { WORD_ACQUIRED };
		c_slot = c_expr { WORD_FRONT };
		property(ownership_is_exclusive, c_slot != p_slot);
		property(newest_frame_wins, ever && seq[c_slot] == NEWEST);
		property(no_torn_read, !partial[c_slot]);
		property(sequence_never_goes_back, !c_has);
		c_has = 1; taken = 1;
		c_rings = MISTAKE(NO_RING_AT_ACQUIRE, 0, c_expr { ACQUIRE_RINGS });
		if :: c_rings && !p_queued -> noise(p_noise) :: else fi
	}
#ifdef SLEEPS
	:: !FRESH -> goto wait
#else
	:: !FRESH ->			/* looks until there is one */
end_look:	FRESH
#endif
	:: goto dead
	fi;
#ifdef SLEEPS
	if
	:: c_rings -> c_rings = 0; ring_one(c_sees, p_there, p_queued, p_woken, PACED, !FRESH)
	:: c_rings -> c_rings = 0; goto dead
	:: !c_rings
	fi;
	goto work;
wait:	sleep(FRESH, ARMED, c_queued, c_woken, c_asleep, c_noise, goto dead);
#endif
	goto work;

dead:	atomic { c_queued = 0; c_woken = 0 };
	d_step {			/* handle.c: tribuf_handle_end() */
		MISTAKE(GIVES_BACK_AT_RELEASE, if :: !FRESH && ever -> word = c_expr { WORD_REDELIVERED } :: else fi;, )
		c_there = NOBODY; c_slot = NO_SLOT; c_has = 0;
		if :: p_sees != NOBODY -> p_sees = ENDED :: else fi;
		if :: r_sees != NOBODY -> r_sees = ENDED :: else fi;
		p_woken = p_queued;	/* channel.c: tribuf_channel_leave() */
		o_woken = o_queued;
		no_noise()
	};
	if :: goto attach :: skip fi;
end_gone:
	false
}

#ifdef OBSERVER
proctype observer()
{
look:
#ifdef COARSE
	atomic { o_taken = seq[NEWEST_SLOT]; o_has = (o_taken == NEWEST) };
#else
	o_slot = NEWEST_SLOT;		/* swap.c: tribuf_take_observer() */
	d_step { o_current = !gen[o_slot]; o_torn = partial[o_slot] };
	if :: !o_current -> goto look :: o_current fi;
	d_step { o_seq = seq[o_slot]; o_newer = (o_seq < o_taken) };
	if :: MISTAKE(SEES_UNPUBLISHED, false, o_slot != NEWEST_SLOT) -> goto look :: else fi;
	d_step {
		if
		:: o_current && o_newer -> o_taken = o_seq
		:: else
		fi
	};
	if
	:: !o_current -> goto look
	:: o_current && !o_newer -> goto wait
	:: o_current && o_newer
	fi;
	d_step {			/* frames.c: tribuf_copy(), its last look */
		if
		:: MISTAKE(NO_GENERATION_CHECK, true, o_current) ->
			property(no_torn_read, !o_torn);
			property(only_published_frames_are_seen, o_seq != NEXT);
			o_has = (o_seq == NEWEST)
		:: else
		fi
	};
	goto look;
#endif

wait:	atomic { o_slot = NO_SLOT; o_seq = OLDER; o_current = 0; o_newer = 0; o_torn = 0 };
	sleep(seq[NEWEST_SLOT] < o_taken, WATCHED, o_queued, o_woken, o_asleep, o_noise, o_asleep = 1);
	goto look
}
#endif

/*
 * Who publishes may stop at any time. So whatever could sleep for ever can be led
 * to where nothing happens any more, and there all must have what they wait for.
 * That takes no assumption about fairness.
 */
proctype quiescence()
{
	timeout ->
	property(no_wakeup_is_lost, !(c_asleep && FRESH));
	property(paced_producer_is_never_stuck, !(p_asleep && !FRESH));
	property(taken_frame_makes_room, !(p_asleep && taken));
	property(newest_frame_reaches_successor, !ever || !c_there || c_has);
#ifdef OBSERVER
	property(observer_gets_newest_frame, !ever || o_has)
#endif
}

init
{
	atomic {
		word = c_expr { TRIBUF_WORD_INIT };
		run producer();
		run consumer();
#ifdef QUIET
		run ringer();
#endif
#ifdef OBSERVER
		run observer();
#endif
		run quiescence()
	}
}
