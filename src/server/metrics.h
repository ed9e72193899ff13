/* Counters, gauges and histograms (metrics.def), and those of HTTP requests by route and status.
 * Any number of threads; nothing blocks, except the first use of a label value. */
#ifndef URZA_SERVER_METRICS_H
#define URZA_SERVER_METRICS_H

#include <stdbool.h>
#include <stdint.h>

struct metrics;
struct route;
struct strbuf;

enum metric {
    METRIC_NONE,
#define METRIC(id, kind, name, label, doc) METRIC_##id,
#include "server/metrics.def"
#undef METRIC
    METRIC_COUNT
};

struct metrics *metrics_new(void);
void metrics_free(struct metrics *metrics);

/* label: its value; NULL if the metric has no label. */
void metrics_add(struct metrics *metrics, enum metric metric, const char *label, double value);
void metrics_set(struct metrics *metrics, enum metric metric, const char *label, double value);
void metrics_observe(struct metrics *metrics, enum metric metric, double seconds);
double metrics_get(const struct metrics *metrics, enum metric metric, const char *label);
/* Counts one HTTP request; route NULL: it had none. */
void metrics_request(struct metrics *metrics, const struct route *route, unsigned status,
                     double seconds);

/* Prints text format 0.0.4, or OpenMetrics 1.0. */
void metrics_print(struct metrics *metrics, bool open, struct strbuf *out);

#endif
