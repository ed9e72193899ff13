#include "report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct tally {
    uint32_t by_verdict[VERDICT_COUNT];
    char checks[160]; /* "function 3, threads 1" */
};

static bool of_kind(const struct mutant *m, const struct kind *kind)
{
    return !kind || m->kind == kind;
}

/* How often each check was the first to notice. */
static void list_checks(const struct results *results, const struct kind *kind, char *out,
                        size_t size)
{
    size_t used = 0;
    out[0] = 0;
    for (uint32_t i = 0; i < results->mutants.count; i++) {
        const struct mutant *m = &results->mutants.items[i];
        uint32_t count = 0;
        bool first = true;
        for (uint32_t k = 0; k < results->mutants.count; k++) {
            const struct mutant *other = &results->mutants.items[k];
            bool same = of_kind(other, kind) && other->verdict == VERDICT_CAUGHT &&
                        strcmp(other->check, m->check) == 0;
            count += same;
            first &= !same || k >= i;
        }
        if (!of_kind(m, kind) || m->verdict != VERDICT_CAUGHT || !first || used >= size)
            continue;
        used += (size_t)snprintf(out + used, size - used, "%s%s %u", used > 0 ? ", " : "", m->check,
                                 count);
    }
}

static struct tally tally_of(const struct results *results, const struct kind *kind)
{
    struct tally t = {0};
    for (uint32_t i = 0; i < results->mutants.count; i++)
        if (of_kind(&results->mutants.items[i], kind))
            t.by_verdict[results->mutants.items[i].verdict]++;
    list_checks(results, kind, t.checks, sizeof t.checks);
    return t;
}

static uint32_t planted(const struct tally *t)
{
    uint32_t sum = 0;
    for (int v = 1; v < VERDICT_COUNT; v++)
        sum += t->by_verdict[v];
    return sum;
}

double results_share(const struct results *results)
{
    struct tally t = tally_of(results, NULL);
    uint32_t caught = t.by_verdict[VERDICT_CAUGHT], count = caught + t.by_verdict[VERDICT_MISSED];
    return count > 0 ? (double)caught / count : 0;
}

static void print_row(const char *stage, const char *name, const struct tally *t)
{
    printf("%-5s  %-28s %7u %7u %7u %7u %7u %7u  %s\n", stage, name, planted(t),
           t->by_verdict[VERDICT_CAUGHT], t->by_verdict[VERDICT_MISSED],
           t->by_verdict[VERDICT_WITHIN], t->by_verdict[VERDICT_EQUIVALENT],
           t->by_verdict[VERDICT_UNBUILT], t->checks);
}

static void print_mutants(const struct results *results, enum verdict verdict, const char *title)
{
    bool any = false;
    for (uint32_t i = 0; i < results->mutants.count; i++) {
        const struct mutant *m = &results->mutants.items[i];
        if (m->verdict != verdict)
            continue;
        if (!any)
            printf("\n%s:\n", title);
        any = true;
        printf("%s %s site %u (%s)", m->kind->name, m->subject->name, m->site, m->place);
        if (verdict >= VERDICT_MISSED && m->worst > 0)
            printf(" off by %.2g", m->worst);
        printf("%s%s%s%s\n", m->check[0] || m->detail[0] ? ": " : "", m->check,
               m->check[0] ? ": " : "", m->detail);
    }
}

void results_print(const struct results *results)
{
    printf("%-5s  %-28s %7s %7s %7s %7s %7s %7s  %s\n", "stage", "kind", "planted", "caught",
           "missed", "within", "equal", "unbuilt", "noticed first by");
    for (uint32_t i = 0; kind_at(i); i++) {
        struct tally t = tally_of(results, kind_at(i));
        if (planted(&t) > 0)
            print_row(mutant_stage_name(kind_at(i)->stage), kind_at(i)->name, &t);
    }
    struct tally all = tally_of(results, NULL);
    print_row("", "all", &all);
    print_mutants(results, VERDICT_UNBUILT, "not built");
    print_mutants(results, VERDICT_EQUIVALENT, "the same bits in every call tried");
    print_mutants(results, VERDICT_WITHIN, "missed, but within the bounds of the reference");
    print_mutants(results, VERDICT_MISSED, "survivors (where a call shows them)");
    if (results->left_out > 0)
        printf("\n%u mutants were left out for want of time\n", results->left_out);
    printf("\ncaught: %.1f %% of %u\n", 100 * results_share(results),
           all.by_verdict[VERDICT_CAUGHT] + all.by_verdict[VERDICT_MISSED]);
}

void results_print_json(const struct results *results)
{
    json_t *mutants = json_array();
    for (uint32_t i = 0; i < results->mutants.count; i++) {
        const struct mutant *m = &results->mutants.items[i];
        json_t *row =
            json_pack("{s:s, s:s, s:s, s:i, s:s, s:s, s:s, s:s, s:i}", "kind", m->kind->name,
                      "stage", mutant_stage_name(m->kind->stage), "subject", m->subject->name,
                      "site", (int)m->site, "place", m->place, "verdict", verdict_name(m->verdict),
                      "check", m->check, "detail", m->detail, "took_ms", (int)m->took_ms);
        if (row && isfinite(m->worst))
            json_object_set_new(row, "worst", json_real(m->worst));
        json_array_append_new(mutants, row ? row : json_null());
    }
    json_t *root = json_pack("{s:f, s:i, s:o}", "share", results_share(results), "left_out",
                             (int)results->left_out, "mutants", mutants);
    char *text = json_dumps(root, 0);
    printf("%s\n", text ? text : "{}");
    free(text);
    json_decref(root);
}
