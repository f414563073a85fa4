// SPDX-License-Identifier: GPL-2.0-only
/*
 * The party of Eclipse Cyclone DDS, of Debian: reliable, KEEP_LAST(1), a topic for each way,
 * on one host. See party.h.
 */
#include "party.h"

#include <dds/dds.h>
#include "cyclone.h"

static dds_entity_t participant, writer, reader, waits, own_writer, own_reader;

static dds_entity_t topic(const char *name, const char *way)
{
	char full[96];

	snprintf(full, sizeof(full), "%s_%s", name, way);
	for (char *c = full; *c; c++)
		*c = *c == '-' ? '_' : *c;
	return dds_create_topic(participant, &bench_Frame_desc, full, NULL, NULL);
}

static void open_ways(const char *name, bool first, uint64_t bytes)
{
	dds_publication_matched_status_t out = { 0 };
	dds_subscription_matched_status_t in = { 0 };
	dds_qos_t *qos = dds_create_qos();

	(void)bytes;
	dds_qset_reliability(qos, DDS_RELIABILITY_RELIABLE, DDS_SECS(10));
	dds_qset_history(qos, DDS_HISTORY_KEEP_LAST, 1);
	participant = dds_create_participant(DDS_DOMAIN_DEFAULT, NULL, NULL);
	writer = dds_create_writer(participant, topic(name, first ? "there" : "back"), qos, NULL);
	reader = dds_create_reader(participant, topic(name, first ? "back" : "there"), qos, NULL);
	own_writer = dds_create_writer(participant, topic(name, first ? "own1" : "own2"), qos, NULL);
	own_reader = dds_create_reader(participant, topic(name, first ? "own1" : "own2"), qos, NULL);
	waits = dds_create_waitset(participant);
	party_must(writer > 0 && reader > 0 && own_writer > 0 && own_reader > 0 && waits > 0);
	party_must(!dds_waitset_attach(waits, dds_create_readcondition(reader, DDS_ANY_STATE), 0));
	dds_delete_qos(qos);
	while (out.current_count < 1 || in.current_count < 1) {
		usleep(1000);
		dds_get_publication_matched_status(writer, &out);
		dds_get_subscription_matched_status(reader, &in);
	}
}

static void close_ways(void)
{
	dds_delete(participant);
}

static bool take_from(dds_entity_t from, uint64_t *value)
{
	static void *samples[1];
	dds_sample_info_t info;
	bench_Frame frame;

	samples[0] = &frame;
	if (dds_take(from, samples, &info, 1, 1) < 1 || !info.valid_data)
		return false;
	*value = frame.value;
	return true;
}

static void send_by(dds_entity_t by, uint64_t value)
{
	bench_Frame frame = { .value = value };

	party_must(!dds_write(by, &frame));
}

static void send_value(uint64_t value)
{
	send_by(writer, value);
}

/* Its threads bring what comes: who spins on their processor lets them run. */
static bool take_value(uint64_t *value)
{
	if (take_from(reader, value))
		return true;
	sched_yield();
	return false;
}

static uint64_t wait_value(void)
{
	dds_attach_t which;
	uint64_t value;

	while (!take_value(&value))
		dds_waitset_wait(waits, &which, 1, DDS_INFINITY);
	return value;
}

static void send_to_self(uint64_t value)
{
	send_by(own_writer, value);
}

static bool take_from_self(uint64_t *value)
{
	return take_from(own_reader, value);
}

static uint64_t one_thread(const char *which, unsigned int count, uint64_t *each)
{
	(void)each;
	return party_one_thread(which, count, send_to_self, take_from_self);
}

static const struct means cyclone = { "cyclone", open_ways, close_ways, send_value, take_value,
				      wait_value, one_thread };

int main(int argc, char **argv)
{
	party_must(argc == 5);
	return party_run(&cyclone, argv);
}
