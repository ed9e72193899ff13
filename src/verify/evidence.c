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

/* JSON has no infinity: null stands for "beyond all bounds". */
static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

/* Texts quote what failed, cut to size: what is no UTF-8 loses its other characters. */
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

static json_t *evidence_json(const struct verify_report *report)
{
    return json_pack("{s:s, s:b, s:o, s:o, s:o}", "format", FORMAT, "pass", report->pass, "checks",
                     checks_of(report), "kernels", kernels(report), "outputs", outputs(report));
}

void verify_summarise(const struct verify_report *report, struct verify_summary *out)
{
    *out = (struct verify_summary){.pass = report->pass, .count = report->count};
    for (uint32_t i = 0; i < report->count; i++) {
        const struct verify_check *c = &report->checks[i];
        if (c->pass || out->failed++ > 0)
            continue;
        snprintf(out->name, sizeof out->name, "%s", c->name);
        snprintf(out->detail, sizeof out->detail, "%s", c->detail);
    }
}

void verify_print(const struct verify_report *report, struct strbuf *out)
{
    json_t *root = evidence_json(report);
    json_write_canonical(root, out);
    json_decref(root);
}

static const char *string_of(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value ? value : "";
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
        strbuf_printf(out, "  %-4s  %-24s %10.3g  %8.3g  %s\n",
                      json_is_true(json_object_get(c, "pass")) ? "pass" : "FAIL",
                      string_of(c, "name"), number_of(c, "figure"), number_of(c, "bound"),
                      string_of(c, "detail"));
    }
}

/* One line a distinct kernel, the sharpest first among equals in the order of the plan. */
static void describe_kernels(const json_t *rows, struct strbuf *out)
{
    if (json_array_size(rows) == 0)
        return;
    strbuf_printf(out, "  %-10s %-44s %8s %8s %12s  %s\n", "target", "kernel", "samples", "worst",
                  "elements", "not checked");
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *k = json_array_get(rows, i);
        strbuf_printf(out, "  %-10s %-44.44s %8.0f %8.3g %12.0f  %.2g %%\n", string_of(k, "target"),
                      string_of(k, "label"), number_of(k, "samples"), number_of(k, "ratio"),
                      number_of(k, "elements"), 100 * number_of(k, "not_checked"));
    }
}

static void describe_outputs(const json_t *rows, struct strbuf *out)
{
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *o = json_array_get(rows, i);
        strbuf_printf(out, "  output %s, %s: not checked %.2g %%", string_of(o, "name"),
                      string_of(o, "target"), 100 * number_of(o, "not_checked"));
        if (json_is_number(json_object_get(o, "quality")))
            strbuf_printf(out, ", error %.2f times a plain loop's", number_of(o, "quality"));
        strbuf_puts(out, "\n");
    }
}

bool evidence_describe(const char *json, size_t size, bool kernels_too, struct strbuf *out)
{
    struct error none;
    json_t *root = json_read(json, size, &none);
    bool known = root && strcmp(string_of(root, "format"), FORMAT) == 0;
    if (known) {
        describe_checks(json_object_get(root, "checks"), out);
        describe_outputs(json_object_get(root, "outputs"), out);
        if (kernels_too)
            describe_kernels(json_object_get(root, "kernels"), out);
    }
    json_decref(root);
    return known;
}
