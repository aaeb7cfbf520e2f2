#include "tests/lib/agenda.h"

#include "proto/util.h"

static bool before(const struct happening *a, const struct happening *b)
{
    return a->at < b->at || (a->at == b->at && a->order < b->order);
}

void agenda_add(struct agenda *a, msec at, struct happening *h)
{
    h->at = at;
    h->order = a->entered++;
    ARRAY_RESERVE(a->items, a->cap, a->n + 1);
    size_t i = a->n++;
    while (i > 0 && before(h, a->items[(i - 1) / 2])) {
        a->items[i] = a->items[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    a->items[i] = h;
}

struct happening *agenda_take(struct agenda *a, msec until)
{
    if (a->n == 0 || a->items[0]->at > until)
        return NULL;
    struct happening *first = a->items[0], *last = a->items[--a->n];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < a->n; i = child) {
        if (child + 1 < a->n && before(a->items[child + 1], a->items[child]))
            child++;
        if (!before(a->items[child], last))
            break;
        a->items[i] = a->items[child];
    }
    if (a->n > 0)
        a->items[i] = last;
    return first;
}

msec agenda_next(const struct agenda *a)
{
    return a->n > 0 ? a->items[0]->at : INT64_MAX;
}

void agenda_done(struct agenda *a)
{
    free(a->items);
    *a = (struct agenda){0};
}
