#include "server/metrics.h"

#include <pthread.h>
#include <stdatomic.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "server/server_priv.h"

#define VALUES_MOST 24
#define LABEL_BYTES 48
#define BUCKETS 12
#define STATUSES 20
#define ROUTES_MOST 64

enum kind { KIND_COUNTER, KIND_GAUGE, KIND_SECONDS };

static const struct row {
    const char *name, *label, *doc;
    enum kind kind;
} rows[METRIC_COUNT] = {
#define METRIC(id, kind, name, label, doc) [METRIC_##id] = {name, label, doc, KIND_##kind},
#include "server/metrics.def"
#undef METRIC
};

static const double bounds[BUCKETS] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                       0.1,   0.25,   0.5,   1,    5,     30};

struct histogram {
    atomic_ullong buckets[BUCKETS + 1]; /* counts per bucket, not cumulative */
    atomic_ullong micros;
};

struct value {
    char label[LABEL_BYTES];
    _Atomic double number;
};

struct metric_state {
    struct value values[VALUES_MOST];
    atomic_uint count; /* of values; those below it are initialised */
    struct histogram histogram;
};

struct metrics {
    pthread_mutex_t lock; /* protects adding label values */
    struct metric_state states[METRIC_COUNT];
    struct route_state {
        atomic_ullong statuses[STATUSES];
        struct histogram histogram;
    } routes[ROUTES_MOST + 1];
};

static const unsigned statuses[STATUSES] = {200, 201, 202, 204, 206, 304, 400, 401, 403, 404,
                                            405, 409, 413, 415, 416, 422, 429, 500, 503, 0};

struct metrics *metrics_new(void)
{
    struct metrics *metrics = calloc(1, sizeof *metrics);
    if (metrics)
        pthread_mutex_init(&metrics->lock, NULL);
    return metrics;
}

void metrics_free(struct metrics *metrics)
{
    if (metrics)
        pthread_mutex_destroy(&metrics->lock);
    free(metrics);
}

static struct value *find(const struct metric_state *state, const char *label)
{
    uint32_t count = atomic_load(&state->count);
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(state->values[i].label, label) == 0)
            return (struct value *)(uintptr_t)&state->values[i];
    return NULL;
}

/* The value of a label; if there are too many labels, the last one is shared. */
static struct value *value_of(struct metrics *metrics, enum metric metric, const char *label)
{
    struct metric_state *state = &metrics->states[metric];
    label = label ? label : "";
    struct value *value = find(state, label);
    if (value)
        return value;
    pthread_mutex_lock(&metrics->lock);
    value = find(state, label);
    uint32_t count = atomic_load(&state->count);
    if (!value && count == VALUES_MOST)
        value = &state->values[VALUES_MOST - 1];
    if (!value) {
        value = &state->values[count];
        snprintf(value->label, sizeof value->label, "%s",
                 count == VALUES_MOST - 1 ? "other" : label);
        atomic_store(&state->count, count + 1);
    }
    pthread_mutex_unlock(&metrics->lock);
    return value;
}

void metrics_add(struct metrics *metrics, enum metric metric, const char *label, double number)
{
    struct value *value = value_of(metrics, metric, label);
    double before = atomic_load(&value->number);
    while (!atomic_compare_exchange_weak(&value->number, &before, before + number)) {
    }
}

void metrics_set(struct metrics *metrics, enum metric metric, const char *label, double number)
{
    atomic_store(&value_of(metrics, metric, label)->number, number);
}

double metrics_get(const struct metrics *metrics, enum metric metric, const char *label)
{
    const struct value *value = find(&metrics->states[metric], label ? label : "");
    return value ? atomic_load(&value->number) : 0;
}

static void observe(struct histogram *histogram, double seconds)
{
    int at = 0;
    while (at < BUCKETS && seconds > bounds[at])
        at++;
    atomic_fetch_add(&histogram->buckets[at], 1);
    atomic_fetch_add(&histogram->micros, (uint64_t)(seconds * 1e6));
}

void metrics_observe(struct metrics *metrics, enum metric metric, double seconds)
{
    observe(&metrics->states[metric].histogram, seconds);
}

void metrics_request(struct metrics *metrics, const struct route *route, unsigned status,
                     double seconds)
{
    uint32_t index = 0, at = 0;
    while (route && index < ROUTES_MOST && route_at(index) && route_at(index) != route)
        index++;
    if (!route || !route_at(index))
        index = ROUTES_MOST;
    while (at < STATUSES - 1 && statuses[at] != status)
        at++;
    atomic_fetch_add(&metrics->routes[index].statuses[at], 1);
    observe(&metrics->routes[index].histogram, seconds);
}

/* Printing. */

struct printing {
    struct strbuf *out;
    bool open; /* OpenMetrics */
};

/* In OpenMetrics a metric family's name has no _total suffix. */
static void print_head(const struct printing *p, const char *name, const char *kind,
                       const char *doc)
{
    size_t length = strlen(name), ending = sizeof "_total" - 1;
    if (p->open && length > ending && strcmp(name + length - ending, "_total") == 0)
        length -= ending;
    strbuf_printf(p->out, "# HELP %.*s %s\n# TYPE %.*s %s\n", (int)length, name, doc, (int)length,
                  name, kind);
}

static void print_label(struct strbuf *out, const char *label, const char *value)
{
    strbuf_printf(out, "%s=\"", label);
    for (; *value != '\0'; value++) {
        if (*value == '"' || *value == '\\')
            strbuf_puts(out, "\\");
        strbuf_add(out, *value == '\n' ? " " : value, 1);
    }
    strbuf_puts(out, "\"");
}

/* OpenMetrics writes bounds with a decimal point. */
static void print_bound(const struct printing *p, double bound)
{
    strbuf_double(p->out, bound);
    if (p->open && bound == floor(bound))
        strbuf_puts(p->out, ".0");
}

/* labels: further labels inside the braces, with a comma at the end; "". */
static void print_histogram(const struct printing *p, const char *name, const char *labels,
                            const struct histogram *histogram)
{
    struct strbuf *out = p->out;
    uint64_t sum = 0;
    for (int i = 0; i <= BUCKETS; i++) {
        sum += atomic_load(&histogram->buckets[i]);
        strbuf_printf(out, "%s_bucket{%sle=\"", name, labels);
        if (i < BUCKETS)
            print_bound(p, bounds[i]);
        else
            strbuf_puts(out, "+Inf");
        strbuf_printf(out, "\"} %llu\n", (unsigned long long)sum);
    }
    size_t length = strlen(labels);
    const char *open = length > 0 ? "{" : "", *close = length > 0 ? "}" : "";
    int shown = length > 0 ? (int)length - 1 : 0; /* without the comma at the end */
    strbuf_printf(out, "%s_sum%s%.*s%s ", name, open, shown, labels, close);
    strbuf_double(out, (double)atomic_load(&histogram->micros) * 1e-6);
    strbuf_printf(out, "\n%s_count%s%.*s%s %llu\n", name, open, shown, labels, close,
                  (unsigned long long)sum);
}

static void print_values(struct strbuf *out, const struct row *row,
                         const struct metric_state *state)
{
    uint32_t count = atomic_load(&state->count);
    if (count == 0 && row->label[0] == '\0')
        strbuf_printf(out, "%s 0\n", row->name);
    for (uint32_t i = 0; i < count; i++) {
        strbuf_puts(out, row->name);
        if (row->label[0] != '\0') {
            strbuf_puts(out, "{");
            print_label(out, row->label, state->values[i].label);
            strbuf_puts(out, "}");
        }
        strbuf_puts(out, " ");
        strbuf_double(out, atomic_load(&state->values[i].number));
        strbuf_puts(out, "\n");
    }
}

static void print_routes(struct metrics *metrics, const struct printing *p)
{
    struct strbuf *out = p->out;
    static const char name[] = "urza_http_request_duration_seconds";
    print_head(p, "urza_http_requests_total", "counter", "Requests, by route and status");
    for (uint32_t i = 0; i <= ROUTES_MOST; i++) {
        const char *path = i < ROUTES_MOST && route_at(i) ? route_at(i)->path : "";
        const char *method = path[0] != '\0' ? route_at(i)->method : "";
        for (int at = 0; at < STATUSES; at++) {
            uint64_t count = atomic_load(&metrics->routes[i].statuses[at]);
            if (count > 0)
                strbuf_printf(out,
                              "urza_http_requests_total{method=\"%s\",route=\"%s\",status=\"%u\"} "
                              "%llu\n",
                              method, path, statuses[at], (unsigned long long)count);
        }
        if (i < ROUTES_MOST && !route_at(i))
            i = ROUTES_MOST - 1;
    }
    print_head(p, name, "histogram", "Time from a request's first byte to its reply's last");
    for (uint32_t i = 0; route_at(i) && i < ROUTES_MOST; i++) {
        char labels[200];
        uint64_t count = 0;
        for (int at = 0; at <= BUCKETS; at++)
            count += atomic_load(&metrics->routes[i].histogram.buckets[at]);
        snprintf(labels, sizeof labels, "method=\"%s\",route=\"%s\",", route_at(i)->method,
                 route_at(i)->path);
        if (count > 0)
            print_histogram(p, name, labels, &metrics->routes[i].histogram);
    }
}

void metrics_print(struct metrics *metrics, bool open, struct strbuf *out)
{
    const struct printing p = {out, open};
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    for (int i = METRIC_NONE + 1; i < METRIC_COUNT; i++) {
        print_head(&p, rows[i].name, kinds[rows[i].kind], rows[i].doc);
        if (rows[i].kind == KIND_SECONDS)
            print_histogram(&p, rows[i].name, "", &metrics->states[i].histogram);
        else
            print_values(out, &rows[i], &metrics->states[i]);
    }
    print_routes(metrics, &p);
    if (open)
        strbuf_puts(out, "# EOF\n");
}
