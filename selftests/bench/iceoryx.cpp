// SPDX-License-Identifier: GPL-2.0-only
/*
 * The party of Eclipse iceoryx 2.0, of Debian: needs its daemon iox-roudi. A queue of one
 * that drops the oldest, which is how it gives the newest. See party.h.
 */
#include "party.h"

#include <iceoryx_posh/popo/untyped_publisher.hpp>
#include <iceoryx_posh/popo/untyped_subscriber.hpp>
#include <iceoryx_posh/popo/wait_set.hpp>
#include <iceoryx_posh/runtime/posh_runtime.hpp>

using namespace iox;

static popo::UntypedPublisher *publisher;
static popo::UntypedSubscriber *subscriber;
static popo::WaitSet<> *waits;
static popo::UntypedPublisher *own_publisher;	/* both ends in one thread */
static popo::UntypedSubscriber *own_subscriber;
static uint32_t payload;

static capro::ServiceDescription service(const char *name, const char *way)
{
	return { "bench", capro::IdString_t(cxx::TruncateToCapacity, name),
		 capro::IdString_t(cxx::TruncateToCapacity, way) };
}

static popo::SubscriberOptions newest_only(void)
{
	popo::SubscriberOptions options;

	options.queueCapacity = 1;
	return options;
}

static void open_ways(const char *name, bool first, uint64_t bytes)
{
	char app[iox::MAX_IPC_CHANNEL_NAME_LENGTH];

	snprintf(app, sizeof(app), "%s-%d", name, first);
	runtime::PoshRuntime::initRuntime(RuntimeName_t(cxx::TruncateToCapacity, app));
	payload = (uint32_t)bytes;
	publisher = new popo::UntypedPublisher(service(name, first ? "there" : "back"));
	subscriber = new popo::UntypedSubscriber(service(name, first ? "back" : "there"),
						 newest_only());
	waits = new popo::WaitSet<>();
	party_must(!waits->attachState(*subscriber, popo::SubscriberState::HAS_DATA).has_error());
	own_publisher = new popo::UntypedPublisher(service(app, "own"));
	own_subscriber = new popo::UntypedSubscriber(service(app, "own"), newest_only());
	while (subscriber->getSubscriptionState() != SubscribeState::SUBSCRIBED ||
	       own_subscriber->getSubscriptionState() != SubscribeState::SUBSCRIBED ||
	       !publisher->hasSubscribers())
		usleep(1000);
}

static void close_ways(void)
{
	waits->detachState(*subscriber, popo::SubscriberState::HAS_DATA);
	delete waits;
	delete own_subscriber;
	delete own_publisher;
	delete subscriber;
	delete publisher;
}

PARTY_INLINE void send_by(popo::UntypedPublisher *by, uint64_t value)
{
	by->loan(payload).and_then([&](auto &data) {
		*static_cast<uint64_t *>(data) = value;
		by->publish(data);
	}).or_else([](auto &) { party_must(!"a loan"); });
}

PARTY_INLINE bool take_by(popo::UntypedSubscriber *by, uint64_t *value)
{
	bool taken = false;

	by->take().and_then([&](const void *data) {
		*value = *static_cast<const volatile uint64_t *>(data);
		by->release(data);
		taken = true;
	});
	return taken;
}

static void send_value(uint64_t value)
{
	send_by(publisher, value);
}

static bool take_value(uint64_t *value)
{
	return take_by(subscriber, value);
}

static uint64_t wait_value(void)
{
	uint64_t value;

	while (!take_value(&value))
		waits->wait();
	return value;
}

static void send_to_self(uint64_t value)
{
	send_by(own_publisher, value);
}

static bool take_from_self(uint64_t *value)
{
	return take_by(own_subscriber, value);
}

static uint64_t one_thread(const char *which, unsigned int count, uint64_t *each)
{
	(void)each;
	return party_one_thread(which, count, send_to_self, take_from_self);
}

static const struct means iceoryx = { "iceoryx", open_ways, close_ways, send_value, take_value,
				      wait_value, one_thread };

int main(int argc, char **argv)
{
	party_must(argc == 5);
	return party_run(&iceoryx, argv);
}
