#include "agent/sim/show.h"

#include <jansson.h>

#include "proto/canon.h"
#include "proto/units.h"

void show_table(const Skein__SimStatus *s, FILE *out)
{
    char at[TIME_TEXT_SIZE];
    unsigned lost = 0, doubled = 0, moving = 0;
    time_format((msec)s->at_ms / 1000 * 1000, at);
    fprintf(out, "%-10s %-8s %6s %14s %15s %7s %7s %6s  %s\n", "HOST", "POWER", "GUESTS", "CORES",
            "MEMORY GiB", "CPU C", "INLET C", "WATT", "TROUBLE");
    for (size_t i = 0; i < s->n_hosts; i++) {
        const Skein__SimHostStatus *h = s->hosts[i];
        fprintf(out, "%-10s %-8s %6u %7.1f / %4u %7.0f / %5.0f %7.1f %7.1f %6.0f  %s\n", h->name,
                h->power, h->running, h->used_millicores / 1e3, h->cores,
                (double)h->memory_taken_mib / 1024, (double)h->memory_mib / 1024,
                h->cpu_millicelsius / 1e3, h->inlet_millicelsius / 1e3, h->power_milliwatts / 1e3,
                h->trouble);
    }
    for (size_t i = 0; i < s->n_guests; i++) {
        lost += s->guests[i]->running == 0;
        doubled += s->guests[i]->running > 1;
        moving += s->guests[i]->moving_to != NULL;
    }
    fprintf(out, "%s: %zu guests, %u moving, %u not running, %u running twice; %.3f kWh so far\n",
            at, s->n_guests, moving, lost, doubled, s->kwh);
}

static json_t *host_json(const Skein__SimHostStatus *h)
{
    json_t *tags = json_object();
    for (size_t i = 0; i < h->n_tags; i++)
        json_object_set_new(tags, h->tags[i]->key, json_string(h->tags[i]->value));
    json_t *o = json_pack("{s:s, s:s*, s:s, s:s, s:I, s:o, s:I, s:I, s:o, s:o, s:o, s:I}", "name",
                          h->name, "failure_domain", h->failure_domain, "power", h->power,
                          "trouble", h->trouble, "cores", (json_int_t)h->cores, "used_cores",
                          canon_milli(h->used_millicores), "memory_mib", (json_int_t)h->memory_mib,
                          "memory_taken_mib", (json_int_t)h->memory_taken_mib, "inlet_celsius",
                          canon_milli(h->inlet_millicelsius), "cpu_celsius",
                          canon_milli(h->cpu_millicelsius), "watts",
                          canon_milli(h->power_milliwatts), "running", (json_int_t)h->running);
    json_object_update_new(
        o, json_pack("{s:I, s:o, s:o, s:I, s:o}", "migration_mbps", (json_int_t)h->migration_mbps,
                     "cpu_overcommit", canon_milli(h->cpu_overcommit_milli), "memory_overcommit",
                     canon_milli(h->memory_overcommit_milli), "memory_reserved_mib",
                     (json_int_t)h->memory_reserved_mib, "tags", tags));
    return o;
}

static json_t *guest_json(const Skein__SimGuestStatus *g)
{
    json_t *defined = json_array();
    for (size_t i = 0; i < g->n_defined; i++)
        json_array_append_new(defined, json_string(g->defined[i]));
    return json_pack("{s:s, s:s, s:s*, s:I, s:o, s:I, s:o, s:s*}", "name", g->name, "uuid", g->uuid,
                     "host", g->host, "running", (json_int_t)g->running, "defined", defined,
                     "starts", (json_int_t)g->starts, "used_cores", canon_milli(g->used_millicores),
                     "moving_to", g->moving_to);
}

void show_json(const Skein__SimStatus *s, FILE *out)
{
    char at[TIME_TEXT_SIZE];
    json_t *hosts = json_array(), *guests = json_array();
    time_format((msec)s->at_ms, at);
    for (size_t i = 0; i < s->n_hosts; i++)
        json_array_append_new(hosts, host_json(s->hosts[i]));
    for (size_t i = 0; i < s->n_guests; i++)
        json_array_append_new(guests, guest_json(s->guests[i]));
    json_t *o = json_pack("{s:s, s:f, s:o, s:o}", "at", at, "kwh", s->kwh, "hosts", hosts, "guests",
                          guests);
    json_dumpf(o, out, JSON_COMPACT | JSON_SORT_KEYS);
    fputc('\n', out);
    json_decref(o);
}
