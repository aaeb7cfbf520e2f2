#include "agent/io/sensors.h"

#include <dirent.h>
#include <fnmatch.h>
#include <math.h>
#include <pthread.h>
#include <sensors/error.h>
#include <sensors/sensors.h>
#include <stdbool.h>
#include <stdio.h>

#include "agent/io/clock.h"
#include "proto/log.h"
#include "proto/util.h"

#define HWMON "/sys/class/hwmon"
#define PLAUSIBLE_MAX 150000 /* silicon and boards die before */
#define RESCAN_FAILING 2000  /* while a sensor is missing it is looked for this often */
#define RESCAN_ALWAYS 60000  /* and chips that changed without a trace are found by then */
#define NAME_SIZE 256

enum place { PLACE_NONE, PLACE_INLET, PLACE_OUTLET, PLACE_CPU };

struct sensors {
    bool hwmon;
    char *inlet, *outlet, *cpu; /* patterns or NULL */
    milli inlet_max, cpu_max;   /* 0: as the chip says */
    msec scanned;               /* monotonic */
    uint64_t signature;
    bool had_inlet, had_outlet; /* ever */
    bool incomplete;            /* at the last reading something failed or was not there */
};

/* libsensors keeps its chips in the process: one scan serves all, one thread at a time. */
static pthread_mutex_t library_lock = PTHREAD_MUTEX_INITIALIZER;
static bool library_ready;

static void on_parse_error(const char *what, int line)
{
    log_debug("sensors' own configuration, line %d: %s", line, what);
}

static void on_parse_error_file(const char *what, const char *file, int line)
{
    log_debug("%s:%d: %s", file != NULL ? file : "sensors' own configuration", line, what);
}

static char *pattern(const char *text)
{
    return text != NULL && *text != '\0' ? xstrdup(text) : NULL;
}

static int check_pattern(const char *name, const char *text, struct err *err)
{
    if (text == NULL || *text == '\0' || strchr(text, '/') != NULL)
        return 0;
    return err_set(err, ERR_INVALID, "sensors.%s: \"%s\" is not of the form \"CHIP/LABEL\"", name,
                   text);
}

int sensors_open(const struct sensors_conf *conf, struct sensors **ret, struct err *err)
{
    bool hwmon = strcmp(conf->source, "hwmon") == 0;
    if (!hwmon && strcmp(conf->source, "none") != 0)
        return err_set(err, ERR_INVALID, "sensors.source: \"%s\" is neither \"hwmon\" nor \"none\"",
                       conf->source);
    if (check_pattern("inlet", conf->inlet, err) < 0 ||
        check_pattern("outlet", conf->outlet, err) < 0 || check_pattern("cpu", conf->cpu, err) < 0)
        return -(int)err->code;
    struct sensors *s = xcalloc(1, sizeof *s);
    s->hwmon = hwmon;
    s->inlet = pattern(conf->inlet);
    s->outlet = pattern(conf->outlet);
    s->cpu = pattern(conf->cpu);
    s->inlet_max = conf->inlet_max_millicelsius;
    s->cpu_max = conf->cpu_max_millicelsius;
    *ret = s;
    return 0;
}

void sensors_close(struct sensors *s)
{
    if (s == NULL)
        return;
    pthread_mutex_lock(&library_lock);
    if (library_ready)
        sensors_cleanup();
    library_ready = false;
    pthread_mutex_unlock(&library_lock);
    free(s->inlet);
    free(s->outlet);
    free(s->cpu);
    free(s);
}

/* Changes when a chip appears or vanishes: names and inode numbers, in any order. */
static uint64_t chips_signature(void)
{
    uint64_t sum = 0;
    DIR *dir = opendir(HWMON);
    if (dir == NULL)
        return 0;
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        uint64_t h = 0xcbf29ce484222325u ^ e->d_ino; /* FNV-1a */
        for (const char *c = e->d_name; *c != '\0'; c++)
            h = (h ^ (unsigned char)*c) * 0x100000001b3u;
        sum += h;
    }
    closedir(dir);
    return sum;
}

/* Locked. */
static void scan_when_due(struct sensors *s)
{
    msec now = clock_mono(), age = now - s->scanned;
    uint64_t signature = chips_signature();
    if (library_ready && signature == s->signature && age < RESCAN_ALWAYS &&
        !(s->incomplete && age >= RESCAN_FAILING))
        return;
    if (library_ready)
        sensors_cleanup();
    sensors_parse_error = on_parse_error;
    sensors_parse_error_wfn = on_parse_error_file;
    int rc = sensors_init(NULL);
    if (rc != 0)
        log_debug("libsensors: %s", sensors_strerror(rc));
    library_ready = rc == 0;
    s->scanned = now;
    s->signature = signature;
}

static milli plausible(double celsius)
{
    if (!isfinite(celsius) || celsius <= 0 || celsius * 1000 >= PLAUSIBLE_MAX)
        return QUANTITY_UNKNOWN;
    return lround(celsius * 1000);
}

static milli read_value(const sensors_chip_name *chip, const sensors_feature *feature,
                        sensors_subfeature_type type)
{
    double value;
    const sensors_subfeature *sub = sensors_get_subfeature(chip, feature, type);
    if (sub == NULL || sensors_get_value(chip, sub->number, &value) != 0)
        return QUANTITY_UNKNOWN;
    return plausible(value);
}

static milli read_limit(const sensors_chip_name *chip, const sensors_feature *feature)
{
    milli max = read_value(chip, feature, SENSORS_SUBFEATURE_TEMP_MAX);
    return max != QUANTITY_UNKNOWN ? max : read_value(chip, feature, SENSORS_SUBFEATURE_TEMP_CRIT);
}

static bool is_faulty(const sensors_chip_name *chip, const sensors_feature *feature)
{
    double value;
    const sensors_subfeature *sub =
        sensors_get_subfeature(chip, feature, SENSORS_SUBFEATURE_TEMP_FAULT);
    return sub != NULL && sensors_get_value(chip, sub->number, &value) == 0 && value != 0;
}

static bool has_word(const char *text, const char *const *words)
{
    for (; *words != NULL; words++)
        if (strcasestr(text, *words) != NULL)
            return true;
    return false;
}

/* What vendors call the places. Chips whose driver is for processors only are the CPU's, whatever
 * the label says. */
static enum place guess_place(const char *prefix, const char *label)
{
    static const char *const drivers[] = {"coretemp",    "k10temp",     "k8temp", "zenpower",
                                          "cpu_thermal", "via_cputemp", NULL};
    static const char *const inlet[] = {"inlet", "intake", "ambient", NULL};
    static const char *const outlet[] = {"outlet", "exhaust", NULL};
    static const char *const cpu[] = {"cpu", "package id", "processor", "tdie", NULL};
    if (strcmp(label, "Tctl") == 0)
        return PLACE_NONE; /* a control value: on some models above the temperature */
    if (has_word(prefix, drivers))
        return PLACE_CPU;
    if (has_word(label, inlet))
        return PLACE_INLET;
    if (has_word(label, outlet))
        return PLACE_OUTLET;
    return has_word(label, cpu) ? PLACE_CPU : PLACE_NONE;
}

static enum place place_of(const struct sensors *s, const char *chip, const char *prefix,
                           const char *label)
{
    char name[2 * NAME_SIZE];
    snprintf(name, sizeof name, "%s/%s", chip, label);
    if (s->inlet != NULL && fnmatch(s->inlet, name, FNM_CASEFOLD) == 0)
        return PLACE_INLET;
    if (s->outlet != NULL && fnmatch(s->outlet, name, FNM_CASEFOLD) == 0)
        return PLACE_OUTLET;
    if (s->cpu != NULL && fnmatch(s->cpu, name, FNM_CASEFOLD) == 0)
        return PLACE_CPU;
    enum place guess = guess_place(prefix, label);
    bool named = (guess == PLACE_INLET && s->inlet != NULL) ||
                 (guess == PLACE_OUTLET && s->outlet != NULL) ||
                 (guess == PLACE_CPU && s->cpu != NULL);
    return named ? PLACE_NONE : guess;
}

/* The hottest sensor of a place counts, with its limit. */
static void take(milli value, milli limit, milli *at, milli *max)
{
    if (value == QUANTITY_UNKNOWN || (*at != QUANTITY_UNKNOWN && value <= *at))
        return;
    *at = value;
    *max = limit;
}

static void read_chip(struct sensors *s, const sensors_chip_name *chip, struct sensors_reading *ret)
{
    char name[NAME_SIZE];
    milli outlet_max; /* nobody asks for it */
    const sensors_feature *feature;
    if (sensors_snprintf_chip_name(name, sizeof name, chip) < 0)
        return;
    for (int nr = 0; (feature = sensors_get_features(chip, &nr)) != NULL;) {
        if (feature->type != SENSORS_FEATURE_TEMP)
            continue;
        _cleanup_(freep) char *label = sensors_get_label(chip, feature);
        enum place place = place_of(s, name, chip->prefix, label != NULL ? label : feature->name);
        if (place == PLACE_NONE)
            continue;
        milli value = is_faulty(chip, feature)
                          ? QUANTITY_UNKNOWN
                          : read_value(chip, feature, SENSORS_SUBFEATURE_TEMP_INPUT);
        milli limit = read_limit(chip, feature);
        if (value == QUANTITY_UNKNOWN)
            s->incomplete = true;
        if (place == PLACE_INLET)
            take(value, limit, &ret->inlet, &ret->inlet_max);
        else if (place == PLACE_OUTLET)
            take(value, limit, &ret->outlet, &outlet_max);
        else
            take(value, limit, &ret->cpu, &ret->cpu_max);
    }
}

/* What is missing though it was named, or was there before, is worth another scan. */
static void note_missing(struct sensors *s, const struct sensors_reading *r)
{
    s->had_inlet = s->had_inlet || s->inlet != NULL || r->inlet != QUANTITY_UNKNOWN;
    s->had_outlet = s->had_outlet || s->outlet != NULL || r->outlet != QUANTITY_UNKNOWN;
    if (r->cpu == QUANTITY_UNKNOWN || (s->had_inlet && r->inlet == QUANTITY_UNKNOWN) ||
        (s->had_outlet && r->outlet == QUANTITY_UNKNOWN))
        s->incomplete = true;
}

void sensors_read(struct sensors *s, struct sensors_reading *ret)
{
    *ret = (struct sensors_reading){QUANTITY_UNKNOWN, QUANTITY_UNKNOWN, QUANTITY_UNKNOWN,
                                    QUANTITY_UNKNOWN, QUANTITY_UNKNOWN};
    if (!s->hwmon)
        return;
    pthread_mutex_lock(&library_lock);
    scan_when_due(s);
    s->incomplete = false;
    const sensors_chip_name *chip;
    for (int nr = 0; library_ready && (chip = sensors_get_detected_chips(NULL, &nr)) != NULL;)
        read_chip(s, chip, ret);
    note_missing(s, ret);
    pthread_mutex_unlock(&library_lock);
    if (ret->inlet != QUANTITY_UNKNOWN && s->inlet_max != 0)
        ret->inlet_max = s->inlet_max;
    if (ret->cpu != QUANTITY_UNKNOWN && s->cpu_max != 0)
        ret->cpu_max = s->cpu_max;
}
