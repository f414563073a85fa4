// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * A list whose links are references into the frame. They can be stored and sent
 * elsewhere; one that points into a frame that is gone is refused, never followed.
 *
 *   references CHANNEL    both roles in one process; prints what it finds
 */
#include <stdio.h>
#include <string.h>
#include <tribuf.h>

struct item {
	struct tribuf_gen_index next;
	char text[24];
};

static int fill(struct tribuf *producer, const char *const *texts, size_t count)
{
	struct tribuf_frame frame;
	struct item *items;

	if (tribuf_begin(producer, &frame))
		return -1;
	items = frame.data;
	for (size_t i = 0; i < count; i++) {
		snprintf(items[i].text, sizeof(items[i].text), "%s", texts[i]);
		if (tribuf_ref(producer, items + (i + 1) % count, &items[i].next))
			return -1;
		/* Readers know the frame by the generation that it has once published. */
		items[i].next.generation = tribuf_generation_publish(items[i].next.generation);
	}
	frame.bytes = count * sizeof(*items);
	return tribuf_publish(producer, &frame);
}

/* Follows the links all the way round. @first: a reference for later. */
static int walk(struct tribuf *consumer, struct tribuf_gen_index *first)
{
	struct tribuf_frame frame;
	struct item *item;
	void *next = NULL;

	if (tribuf_acquire(consumer, &frame) != 1 || tribuf_ref(consumer, frame.data, first))
		return -1;
	for (item = frame.data; ; item = next) {
		printf("%s\n", item->text);
		if (tribuf_deref(consumer, item->next, sizeof(*item), &next))
			return -1;
		if (next == frame.data)
			return 0;
	}
}

int main(int argc, char **argv)
{
	static const char *const fruits[] = { "apple", "pear", "quince" };
	static const char *const trees[] = { "oak", "elm" };
	const char *name = argc > 1 ? argv[1] : "references";
	struct tribuf_gen_index fruit, tree;
	struct tribuf *producer, *consumer;
	void *pointer;

	if (tribuf_open_producer(&producer, name, 4096) || tribuf_open_consumer(&consumer, name)) {
		fprintf(stderr, "references: %s\n", tribuf_explain());
		return 1;
	}
	if (fill(producer, fruits, 3) < 0 || walk(consumer, &fruit) ||
	    fill(producer, trees, 2) < 0 || walk(consumer, &tree))
		return 1;
	if (tribuf_deref(consumer, fruit, sizeof(struct item), &pointer) != -ESTALE ||
	    tribuf_deref(consumer, tree, sizeof(struct item), &pointer))
		return 1;
	puts("the reference to the first frame is stale, the one to the second is good");
	tribuf_close(consumer);
	tribuf_close(producer);
	return 0;
}
