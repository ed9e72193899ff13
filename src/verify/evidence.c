/* Evidence as canonical JSON, and as a table for people. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/strbuf.h"
#include "verify/verify.h"

#define FORMAT "urza.evidence/2"
#define TEXT_BYTES 512

/* JSON has no infinity: null stands for an infinite value. */
static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

/* Texts quote what failed. In a text that is not UTF-8, as it may be cut inside a character, bytes
 * outside of ASCII become '?'. */
static json_t *text(const char *from)
{
    json_t *whole = json_string(from);
    char ascii[TEXT_BYTES] = "";
    for (size_t i = 0; !whole && from[i] && i + 1 < sizeof ascii; i++)
        ascii[i] = (unsigned char)from[i] < 0x80 ? from[i] : '?';
    return whole ? whole : json_string(ascii);
}

static json_t *checks_of(const struct verify_report *report)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < report->count; i++) {
        const struct verify_check *c = &report->checks[i];
        json_array_append_new(list, json_pack("{s:o, s:b, s:o, s:o, s:o}", "name", text(c->name),
                                              "pass", c->pass, "figure", number(c->figure), "bound",
                                              number(c->bound), "detail", text(c->detail)));
    }
    return list;
}

static json_t *kernels(const struct verify_report *report)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < report->kernel_count; i++) {
        const struct verify_kernel *k = &report->kernels[i];
        json_array_append_new(
            list, json_pack("{s:s, s:o, s:I, s:o, s:o, s:I, s:I}", "target", k->target, "label",
                            text(k->label), "samples", (json_int_t)k->samples, "ratio",
                            number(k->ratio), "not_checked", number(k->not_checked), "elements",
                            (json_int_t)k->elements, "checked", (json_int_t)k->checked));
    }
    return list;
}

static json_t *outputs(const struct verify_report *report)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < report->output_count; i++) {
        const struct verify_output *o = &report->outputs[i];
        json_array_append_new(list,
                              json_pack("{s:o, s:s, s:o, s:o}", "name", text(o->name), "target",
                                        o->target, "not_checked", number(o->not_checked), "quality",
                                        o->quality < 0 ? json_null() : number(o->quality)));
    }
    return list;
}

static json_t *sizes(const struct verify_report *report)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < report->size_count; i++) {
        const struct verify_size *s = &report->sizes[i];
        json_array_append_new(list, json_pack("{s:s, s:o, s:o, s:I, s:I, s:b}", "target", s->target,
                                              "dims", text(s->dims), "why", text(s->why),
                                              "elements", (json_int_t)s->elements, "checked",
                                              (json_int_t)s->checked, "runtime", s->runtime));
    }
    return list;
}

static json_t *evidence_json(const struct verify_report *report)
{
    return json_pack("{s:s, s:b, s:o, s:o, s:o, s:o}", "format", FORMAT, "pass", report->pass,
                     "checks", checks_of(report), "kernels", kernels(report), "outputs",
                     outputs(report), "sizes", sizes(report));
}

static bool is_not_run(const struct verify_check *check)
{
    return strncmp(check->detail, "not run", 7) == 0;
}

void verify_summarise(const struct verify_report *report, struct verify_summary *out)
{
    *out = (struct verify_summary){.pass = report->pass, .count = report->count};
    const struct verify_check *first = NULL; /* the first check that ran, if there is one */
    for (uint32_t i = 0; i < report->count; i++) {
        const struct verify_check *c = &report->checks[i];
        out->failed += !c->pass;
        if (!c->pass && (!first || (is_not_run(first) && !is_not_run(c))))
            first = c;
    }
    if (first) {
        snprintf(out->name, sizeof out->name, "%s", first->name);
        snprintf(out->detail, sizeof out->detail, "%s", first->detail);
    }
}

void verify_print(const struct verify_report *report, struct strbuf *out)
{
    json_t *root = evidence_json(report);
    json_write_canonical(root, out);
    json_decref(root);
}

/* Appends a text of the evidence, padded to `width` columns; control characters become '?', so that
 * a package cannot print lines of its own. */
static void put(const json_t *object, const char *key, int width, struct strbuf *out)
{
    const char *value = json_string_value(json_object_get(object, key));
    int used = 0;
    for (value = value ? value : ""; *value && used < TEXT_BYTES; value++, used++) {
        bool plain = (unsigned char)*value >= 0x20 && *value != 0x7f;
        strbuf_add(out, plain ? value : "?", 1);
    }
    for (; used < width; used++)
        strbuf_puts(out, " ");
}

static double number_of(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : INFINITY;
}

static void describe_checks(const json_t *checks, struct strbuf *out)
{
    strbuf_printf(out, "  %-4s  %-24s %10s  %8s  %s\n", "", "check", "worst", "allowed", "");
    for (size_t i = 0; i < json_array_size(checks); i++) {
        const json_t *c = json_array_get(checks, i);
        strbuf_puts(out, json_is_true(json_object_get(c, "pass")) ? "  pass  " : "  FAIL  ");
        put(c, "name", 24, out);
        strbuf_printf(out, " %10.3g  %8.3g  ", number_of(c, "figure"), number_of(c, "bound"));
        put(c, "detail", 0, out);
        strbuf_puts(out, "\n");
    }
}

/* One line per distinct kernel, the largest ratio first, and otherwise in the order of the plan. */
static void describe_kernels(const json_t *rows, struct strbuf *out)
{
    if (json_array_size(rows) == 0)
        return;
    strbuf_printf(out, "  %-10s %-44s %8s %8s %12s  %s\n", "target", "kernel", "samples", "worst",
                  "elements", "compared");
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *k = json_array_get(rows, i);
        strbuf_puts(out, "  ");
        put(k, "target", 10, out);
        strbuf_puts(out, " ");
        put(k, "label", 44, out);
        double elements = number_of(k, "elements");
        strbuf_printf(out, " %8.0f %8.3g %12.0f", number_of(k, "samples"), number_of(k, "ratio"),
                      elements);
        if (elements > 0)
            strbuf_printf(out, "  %.3g %%\n", 100 * number_of(k, "checked") / elements);
        else
            strbuf_puts(out, "  nothing\n");
    }
}

/* Sizes at which kernels were not fully judged, one line per target. */
static void describe_sizes(const json_t *rows, struct strbuf *out)
{
    const char *before = "";
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *s = json_array_get(rows, i);
        const char *target = json_string_value(json_object_get(s, "target"));
        double elements = number_of(s, "elements"), checked = number_of(s, "checked");
        bool called = json_is_true(json_object_get(s, "runtime"));
        if (!target || (called && checked >= elements))
            continue;
        if (strcmp(before, target) != 0) {
            strbuf_puts(out, *before ? "\n  " : "  ");
            put(s, "target", 0, out);
            strbuf_puts(out, " in part:");
            before = target;
        } else {
            strbuf_puts(out, ";");
        }
        strbuf_puts(out, " ");
        put(s, "dims", 0, out);
        strbuf_puts(out, json_string_length(json_object_get(s, "dims")) > 0 ? " " : "");
        if (elements > 0)
            strbuf_printf(out, "%.3g %% compared", 100 * checked / elements);
        else
            strbuf_puts(out, "nothing compared");
        strbuf_puts(out, called ? "" : ", not called");
    }
    strbuf_puts(out, *before ? "\n" : "");
}

static void describe_outputs(const json_t *rows, struct strbuf *out)
{
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *o = json_array_get(rows, i);
        strbuf_puts(out, "  output ");
        put(o, "name", 0, out);
        strbuf_puts(out, ", ");
        put(o, "target", 0, out);
        strbuf_printf(out, ": not checked %.2g %%", 100 * number_of(o, "not_checked"));
        if (json_is_number(json_object_get(o, "quality")))
            strbuf_printf(out, ", error %.3g times a plain loop's", number_of(o, "quality"));
        strbuf_puts(out, "\n");
    }
}

bool evidence_describe(const char *json, size_t size, bool kernels_too, struct strbuf *out)
{
    struct error none;
    json_t *root = json_read(json, size, &none);
    const char *format = json_string_value(json_object_get(root, "format"));
    bool known = format && strcmp(format, FORMAT) == 0;
    if (known) {
        describe_checks(json_object_get(root, "checks"), out);
        describe_outputs(json_object_get(root, "outputs"), out);
        describe_sizes(json_object_get(root, "sizes"), out);
        if (kernels_too)
            describe_kernels(json_object_get(root, "kernels"), out);
    }
    json_decref(root);
    return known;
}
